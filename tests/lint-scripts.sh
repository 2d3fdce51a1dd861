#!/usr/bin/env bash
# The scripts of this repository are free of errors that show without running them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What examples look at is data, and broken where they say so.
mapfile -t shell < <(git ls-files '*.sh' .ci/run ':!examples/codereview')
mapfile -t python < <(git ls-files '*.py')
mapfile -t node < <(git ls-files '*.mjs')
for file in "${shell[@]}"; do bash -n "$file"; done
for file in "${node[@]}"; do node --check "$file"; done
PYTHONPYCACHEPREFIX=target/pycache "${PYTHON:-python3.11}" -W error -m py_compile "${python[@]}"
for file in "${shell[@]}"; do
  [ -x "$file" ] || { echo "$file: not executable; run: chmod +x $file" >&2; exit 1; }
done
echo "scripts: ${#shell[@]} shell, ${#python[@]} Python, ${#node[@]} JavaScript"
