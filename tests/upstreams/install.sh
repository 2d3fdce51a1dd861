#!/usr/bin/env bash
# Installs the upstreams of the tests: llama.cpp's server (PyPI) into target/upstreams/venv and
# aimock (npm) into tests/upstreams/node_modules. Does nothing when they are already there.
# Needs python3.11, node 20 and npm; missing Debian packages are installed where that is allowed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
out=$root/target/upstreams
venv=$out/venv
python=${PYTHON:-python3.11}
name=upstreams
source "$root/tests/common.sh"

mkdir -p "$out"
# Two installs at once wait for each other.
exec 9>"$out/install.lock"
if command -v flock >/dev/null; then flock 9; fi

command -v "$python" >/dev/null || apt python3.11
want=$(stamp "$("$python" -V)" "$(uname -m)" <"$here/requirements.txt")
if ! same "$venv/.installed" "$want" || ! [ -x "$venv/bin/python" ]; then
  say "python packages into ${venv#"$root/"}"
  venv "$python" "$venv"
  pip "$venv" --requirement "$here/requirements.txt"
  # llama.cpp is linked against the C++ and OpenMP runtimes of the system.
  "$venv/bin/python" -c 'import xllamacpp' 2>/dev/null || {
    apt libgomp1 libstdc++6
    "$venv/bin/python" -c 'import xllamacpp'
  }
  echo "$want" >"$venv/.installed"
fi

command -v node >/dev/null || apt nodejs
command -v npm >/dev/null || apt npm
want=$(stamp "$(node --version)" <"$here/package-lock.json")
if ! same "$here/node_modules/.installed" "$want"; then
  say "npm packages into ${here#"$root/"}/node_modules"
  (cd "$here" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
  echo "$want" >"$here/node_modules/.installed"
fi
