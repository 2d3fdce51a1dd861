# Read by scripts that run something on each CPython, with `out` and `name` set: gives `environments`, those that
# PYTHONS names, else all that install.sh made.
# shellcheck shell=bash disable=SC2034,SC2154

if [ -n "${PYTHONS:-}" ]; then
  read -ra environments <<<"$PYTHONS"
else
  environments=()
  for python in "$out"/{venv,3.*}/bin/python; do
    [ -x "$python" ] && environments+=("$(basename "$(dirname "$(dirname "$python")")")")
  done
fi
[ "${#environments[@]}" != 0 ] || { echo "$name: no environment; run tests/python/install.sh" >&2; exit 1; }
