#!/usr/bin/env bash
# Runs the scenario list on each CPython that install.sh made an environment for; arguments go to the self-test.
# A scenario whose packages are missing is a failure. PYTHONS="venv 3.13" names the environments to use.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
out=${CARGO_TARGET_DIR:-target}/python
export PYTHONPATH=$root/python

name=scenarios
# shellcheck source=tests/python/environments.sh
source tests/python/environments.sh

failed=()
for environment in "${environments[@]}"; do
  python=$out/$environment/bin/python
  echo "scenarios: $("$python" -VV | head -n 1)"
  require=(--require-all)
  # Some of the frameworks have no wheels for free-threaded builds.
  case $environment in *t) require=() ;; esac
  "$python" -m ambidex.selftest "${require[@]}" "$@" || failed+=("$environment")
done
[ "${#failed[@]}" = 0 ] || { echo "scenarios: failed on ${failed[*]}" >&2; exit 1; }
