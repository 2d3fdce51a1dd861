#!/usr/bin/env bash
# Runs one step and says how long it took: tests/step.sh NAME COMMAND...; also into target/steps, for the summary.
set -euo pipefail

name=$1 began=$SECONDS code=0
steps=$(dirname "${BASH_SOURCE[0]}")/../target/steps
echo "== $name"
# What is started in the background of a script ignores Ctrl-C, and so would every test of it.
default=()
env --default-signal=INT true 2>/dev/null && default=(env --default-signal=INT)
"${default[@]}" "${@:2}" || code=$?
took="$((SECONDS - began)) s"
[ "$code" = 0 ] || took+=", failed with $code"
mkdir -p "$(dirname "$steps")"
echo "== $name: $took" | tee -a "$steps"
exit "$code"
