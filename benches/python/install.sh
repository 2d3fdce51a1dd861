#!/usr/bin/env bash
# The environment of the comparison, target/python/bench-venv: the other libraries as requirements.txt pins them, and
# Ambidex from a wheel built of this tree. What is there and still fits is left alone.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
name=bench-python
source "$root/tests/common.sh"
out=${CARGO_TARGET_DIR:-$root/target}/python
place=$out/bench-venv

# The first CPython 3.10 or later that has the interpreter lock.
read -r tag python < <("$root/tests/python/pythons.sh" | grep -v '^[^ ]*t ') ||
  fail "missing CPython 3.10 or later; name one in PYTHON"

want=$(stamp "$python" "$("$python" -V)" "$(uname -m)" <"$here/requirements.txt")
if ! same "$place/.installed" "$want"; then
  say "CPython $tag with the other libraries into ${place#"$root/"}"
  mkdir -p "$out"
  venv "$python" "$place"
  # What they draw in is pinned too, so nothing is resolved.
  pip "$place" --no-deps --requirement "$here/requirements.txt"
  echo "$want" >"$place/.installed"
fi

wheels=$out/bench-wheel
rm -rf "$wheels"
(cd "$root" && "$place/bin/maturin" build --release --locked --quiet --out "$wheels" >&2)
pip "$place" --no-index --no-deps --force-reinstall "$wheels"/*.whl
