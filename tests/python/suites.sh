#!/usr/bin/env bash
# Runs the pytest suites on each CPython that install.sh made an environment for; arguments go to pytest.
# The servers, workers and kernels of python/tests/integrations run on the first of them alone.
# PYTHONS="venv 3.13" names the environments to use.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
out=${CARGO_TARGET_DIR:-target}/python
export PYTHONPATH=$root/python

if [ -n "${PYTHONS:-}" ]; then
  read -ra environments <<<"$PYTHONS"
else
  environments=()
  for python in "$out"/{venv,3.*}/bin/python; do
    [ -x "$python" ] && environments+=("$(basename "$(dirname "$(dirname "$python")")")")
  done
fi
[ "${#environments[@]}" != 0 ] || { echo "suites: no environment; run tests/python/install.sh" >&2; exit 1; }

for environment in "${environments[@]}"; do
  python=$out/$environment/bin/python
  skip=()
  [ "$environment" = venv ] || skip=(--ignore=python/tests/integrations)
  echo "suites: $("$python" -VV | head -n 1)"
  "$python" -m pytest --quiet "${skip[@]}" "$@"
done
