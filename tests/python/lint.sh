#!/usr/bin/env bash
# The Python side as tools read it: ruff, mypy --strict, pyright, and the stub of the extension module beside the
# module itself. Needs tests/python/install.sh and tests/python/build.sh before it.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
out=${CARGO_TARGET_DIR:-target}/python
bin=$out/venv/bin
export PYTHONPATH=python

code=(python tests/python benches/python)
"$bin/ruff" format --check --quiet "${code[@]}"
"$bin/ruff" check --quiet --output-format concise "${code[@]}"
# The oldest and the newest version that is promised: what the library stubs say depends on it.
for version in 3.10 3.14; do
  "$bin/mypy" --no-error-summary --python-version "$version"
done
node "$out/pyright/node_modules/pyright/index.js" --pythonpath "$bin/python" --warnings >"$out/pyright.log" ||
  { cat "$out/pyright.log"; exit 1; }
# What the stub says is there, is there, and nothing else.
"$bin/stubtest" --concise --allowlist <(echo ambidex._core.__all__) ambidex._core
echo "python: ruff, mypy, pyright, stubtest"
