#!/usr/bin/env bash
# Prints each CPython 3.10 or later of this machine as "TAG PATH", one for a version: 3.11 /usr/bin/python3.11.
# A free-threaded one is 3.14t. Looks at $PYTHON, the PATH, and where pyenv and uv keep theirs.
set -euo pipefail
shopt -s nullglob

# An environment is no interpreter of its own; a shim of pyenv may stand for nothing.
describe='
import sys, sysconfig
if sys.implementation.name == "cpython" and sys.version_info >= (3, 10) and sys.prefix == sys.base_prefix:
    tail = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    print(f"3.{sys.version_info[1]}{tail} {sys.executable}")
'
candidates=(${PYTHON:+"$PYTHON"})
for minor in 11 10 12 13 14 15 16; do candidates+=("python3.$minor" "python3.${minor}t"); done
candidates+=(
  python3
  "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3
  "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/*/bin/python3
)
declare -A seen=()
for candidate in "${candidates[@]}"; do
  command -v "$candidate" >/dev/null || continue
  read -r tag path < <("$candidate" -I -c "$describe" 2>/dev/null || true) || continue
  [ -n "${seen[$tag]:-}" ] || echo "$tag $path"
  seen[$tag]=1
done
