#!/usr/bin/env bash
# Builds the extension module in the dev profile and puts it into python/ambidex, so that
# PYTHONPATH=python finds the package as it stands. A second call does nothing.
# tests/python/build.sh [--copy]; --copy takes the library that an earlier build left.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
target=${CARGO_TARGET_DIR:-target}
case $(uname -s) in
  Darwin) built=$target/debug/lib_core.dylib ;;
  *) built=$target/debug/lib_core.so ;;
esac
module=python/ambidex/_core.abi3.so

case ${1:-} in
  --copy) ;;
  '') nice -n 10 "${CARGO:-cargo}" build --quiet -p ambidex-python ;;
  *) echo "usage: tests/python/build.sh [--copy]" >&2; exit 2 ;;
esac

# Renamed into its place: a process that has the old one mapped goes on with the old one.
if ! cmp -s "$built" "$module"; then
  trap 'rm -f "$module.$$"' EXIT
  cp "$built" "$module.$$"
  mv "$module.$$" "$module"
  trap - EXIT
fi
