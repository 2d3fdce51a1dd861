#!/usr/bin/env bash
# The environments of the Python tests: target/python/venv with everything, target/python/VERSION with what the
# suites import for each other CPython of this machine up to 3.14
# (pythons.sh), and pyright below target/python/pyright.
# Does nothing when they are there. Missing Debian packages are installed where that is allowed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
name=python
source "$root/tests/common.sh"
out=${CARGO_TARGET_DIR:-$root/target}/python

# environment PYTHON FOLDER FILE...: the environment with exactly what the files pin.
environment() {
  local python=$1 folder=$2 files=() want
  for file in "${@:3}"; do files+=(--requirement "$here/$file"); done
  want=$(cd "$here" && cat "${@:3}" | stamp "$python" "$("$python" -V)" "$(uname -m)")
  if same "$folder/.installed" "$want" && [ -x "$folder/bin/python" ]; then return; fi
  say "$("$python" -V) with packages into ${folder#"$root/"}"
  # One of the same Python is brought up to date, for somebody may be using it.
  [ "$("$folder/bin/python" -V 2>/dev/null)" = "$("$python" -V)" ] || venv "$python" "$folder"
  # What the files draw in is pinned too, so nothing is resolved.
  pip "$folder" --no-deps "${files[@]}"
  echo "$want" >"$folder/.installed"
}

mkdir -p "$out"
# Two installs at once wait for each other.
exec 9>"$out/install.lock"
if command -v flock >/dev/null; then flock 9; fi

mapfile -t pythons < <("$here/pythons.sh")
if [ "${#pythons[@]}" = 0 ]; then
  apt python3 python3-venv
  mapfile -t pythons < <("$here/pythons.sh")
fi
[ "${#pythons[@]}" != 0 ] || fail "missing CPython 3.10 or later; name one in PYTHON"

main=1
for line in "${pythons[@]}"; do
  read -r tag python <<<"$line"
  case $tag in
    3.1[0-4]t) environment "$python" "$out/$tag" requirements.txt ;;
    3.1[5-9]*) say "no environment for CPython $tag: the pinned versions fit up to 3.14" ;;
    *)
      if [ "$main" = 1 ]; then
        main=0
        environment "$python" "$out/venv" requirements.txt requirements-frameworks.txt requirements-tools.txt
      else
        environment "$python" "$out/$tag" requirements.txt requirements-frameworks.txt
      fi
      ;;
  esac
done
[ "$main" = 0 ] || fail "missing a CPython 3.10 or later that has the interpreter lock; name one in PYTHON"

command -v node >/dev/null || apt nodejs
command -v npm >/dev/null || apt npm
want=$(stamp "$(node --version)" <"$here/pyright/package-lock.json")
if ! same "$out/pyright/.installed" "$want"; then
  say "pyright into ${out#"$root/"}/pyright"
  mkdir -p "$out/pyright"
  cp "$here"/pyright/package*.json "$out/pyright"
  (cd "$out/pyright" && npm ci --silent --no-audit --no-fund --ignore-scripts >&2)
  echo "$want" >"$out/pyright/.installed"
fi
