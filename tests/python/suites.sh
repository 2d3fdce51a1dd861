#!/usr/bin/env bash
# Runs the pytest suites on each CPython that install.sh made an environment for; arguments go to pytest.
# All of them run on the first, and on the others those that meet the interpreter: bridge, engine, tools, gather.
# PYTHONS="venv 3.13" names environments to run all suites on, but for the integrations.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
out=${CARGO_TARGET_DIR:-target}/python
export PYTHONPATH=$root/python

name=suites
# shellcheck source=tests/python/environments.sh
source tests/python/environments.sh

for environment in "${environments[@]}"; do
  python=$out/$environment/bin/python
  suites=()
  if [ "$environment" != venv ]; then
    suites=(--ignore=python/tests/integrations)
    [ -n "${PYTHONS:-}" ] || suites=(python/tests/bridge python/tests/engine python/tests/tools python/tests/aio/test_gather.py)
  fi
  echo "suites: $("$python" -VV | head -n 1)"
  "$python" -m pytest --quiet "${suites[@]}" "$@"
done
