#!/usr/bin/env bash
# Builds the wheels into target/python/wheels and tests each as its user meets it: installed without an index into an
# empty environment, on every CPython of this machine that it is for, the README's first Python example as written,
# and the command. Ends with what was run and what was not. Needs tests/python/install.sh before it.
# tests/python/wheels.sh [WHEEL]: with a wheel for CPython 3.10 and later, that one is tested and none is built.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"
here=tests/python
out=${CARGO_TARGET_DIR:-target}/python
bin=$out/venv/bin
wheels=$out/wheels
# It carries the command as a library call, not as a second binary.
most=$((16 * 1000 * 1000))
ran=() not_run=()

fail() { echo "wheels: $*" >&2; exit 1; }

# build OPTION...: one wheel; its path.
build() {
  local folder wheel
  folder=$(mktemp -d "$out/wheel.XXXXXX")
  "$bin/maturin" build --release --locked --quiet --out "$folder" "$@" >&2
  mkdir -p "$wheels"
  for wheel in "$folder"/*.whl; do
    mv "$wheel" "$wheels"
    echo "$wheels/$(basename "$wheel")"
  done
  rmdir "$folder"
}

# small WHEEL: it is not too large, and has in it what it should and nothing else.
small() {
  local bytes
  bytes=$(stat -c %s "$1")
  [ "$bytes" -lt "$most" ] || fail "$(basename "$1") has $bytes bytes, at most $most are allowed"
  "$bin/python" - "$1" <<'PYTHON'
import sys, zipfile
names = zipfile.ZipFile(sys.argv[1]).namelist()
modules = [name for name in names if name.endswith((".so", ".pyd"))]
assert len(modules) == 1, f"one extension module, not {modules}"
for name in ("ambidex/py.typed", "ambidex/_core.pyi", "ambidex/__init__.py"):
    assert name in names, f"{name} is missing"
odd = [name for name in names if "__pycache__" in name or "/tests/" in name]
assert not odd, f"these do not belong into it: {odd}"
PYTHON
  echo "wheels: $(basename "$1") has $bytes bytes"
}

# works TAG PYTHON WHEEL: in an empty environment and an empty folder, offline.
works() {
  local tag=$1 python=$2 wheel=$3 place=$out/empty/$1 said
  rm -rf "$place"
  "$python" -m venv --without-pip "$place/venv"
  "$bin/python" -m pip --python "$place/venv/bin/python" install --quiet --disable-pip-version-check \
    --no-index "$wheel"
  mkdir "$place/work" "$place/home"
  (
    cd "$place/work"
    # Nothing of this machine but a path, and no way to a network that would be noticed.
    clean=(env -i "PATH=$place/venv/bin:/usr/bin:/bin" "HOME=$place/home" LANG=C.UTF-8)
    "$bin/python" "$root/$here/examples.py" "$root/README.md" "In Python" >example.py
    "$bin/python" "$root/$here/examples.py" "$root/README.md" "In Python" --output >expected
    "${clean[@]}" python -W error example.py >printed 2>errors || { cat errors >&2; fail "$tag: the README's example"; }
    diff expected printed >&2 || fail "$tag: the README's example prints something else"
    [ ! -s errors ] || { cat errors >&2; fail "$tag: the README's example complains"; }
    said=$("${clean[@]}" ambidex version)
    [ "$said" = "$("${clean[@]}" python -m ambidex version)" ] || fail "$tag: python -m ambidex is another command"
    "${clean[@]}" ambidex run "What can you do?" 2>errors | grep -q "offline model" ||
      { cat errors >&2; fail "$tag: ambidex run"; }
    "${clean[@]}" ambidex demo >demo 2>errors || { cat errors >&2; fail "$tag: ambidex demo"; }
    [ -s demo ] || fail "$tag: ambidex demo printed nothing"
  )
  # For what measures: an optimised build, installed.
  [ "${#ran[@]}" != 0 ] || ln -sfn "$place" "$out/wheel"
  ran+=("$tag")
}

[ "$#" -le 1 ] || fail "usage: tests/python/wheels.sh [WHEEL]"
out=$(mkdir -p "$out" && cd "$out" && pwd)
bin=$out/venv/bin wheels=$out/wheels
mapfile -t pythons < <("$here/pythons.sh")

abi3=${1:-$(build)}
small "$abi3"
free_threaded=()
for line in "${pythons[@]}"; do
  read -r tag python <<<"$line"
  case $tag in
    *t) free_threaded+=("$line") ;;
    *) works "$tag" "$python" "$abi3" ;;
  esac
done

[ "$#" = 0 ] || free_threaded=()
# The free-threaded interpreter has no stable interface before 3.15, so each version has a wheel of its own.
for line in ${free_threaded[@]+"${free_threaded[@]}"}; do
  read -r tag python <<<"$line"
  wheel=$(build --interpreter "$python" --no-default-features)
  small "$wheel"
  works "$tag" "$python" "$wheel"
done
if [ "${#free_threaded[@]}" = 0 ]; then
  # Without one at hand: the code compiles for it.
  printf '%s\n' implementation=CPython version=3.14 build_flags=Py_GIL_DISABLED pointer_width=64 >"$out/cp314t.config"
  PYO3_CONFIG_FILE=$out/cp314t.config "${CARGO:-cargo}" check --locked --quiet -p ambidex-python --no-default-features
  not_run+=("3.14t (compiled for, not run)")
fi
for minor in 10 11 12 13 14; do
  case " ${ran[*]} " in *" 3.$minor "*) ;; *) not_run+=("3.$minor") ;; esac
done
(IFS=,; echo "wheels: run on CPython ${ran[*]}; not here, so not run: ${not_run[*]:-none}")
