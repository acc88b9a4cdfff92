#!/usr/bin/env bash
# The whole pyramid, cheapest first: `run-all.sh` what every change is tried with, `run-all.sh --long` all there is.
# The lab's chain goes step by step and takes longest: it begins as soon as lint is clean and there are images, and runs
# beside all the rest.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
stage() { printf '\n== %s (after %d s)\n' "$1" $((SECONDS - start)); }

which=(-m "not long")
chosen=("${which[@]}")
if [[ ${1:-} == --long ]]; then
  # What has passed with these very sources is not run again: a set of hours can be interrupted.
  which=(-p tests.resume --resume build/passed.jsonl)
  chosen=()
fi

mkdir -p build
stage "images of the lab, in the background"
python tests/lab/lab.py image >build/image.log 2>&1 &
image=$!
chain=
# SIGINT, which a program in the background ignores, would not end the chain; SIGTERM ends it, and the lab goes down.
trap 'kill "$image" $chain 2>/dev/null || true; python tests/lab/lab.py down >build/down.log 2>&1 || cat build/down.log' EXIT

stage "lint"
tests/lint.sh
stage "the chain on the lab, in the background, as soon as there are images"
(
  while kill -0 "$image" 2>/dev/null; do sleep 1; done
  exec pytest -q -x --durations=10 "${chosen[@]}" tests/integration
) >build/integration.log 2>&1 &
chain=$!
stage "unit and meta tests"
# What fails here keeps nothing else from being looked at: one run tells all.
failed=0
pytest -q -n 2 --durations=10 "${chosen[@]}" tests/unit tests/meta || failed=$?
stage "images of the lab"
wait "$image" || { cat build/image.log; exit 1; }
tail -n 3 build/image.log

stage "Molecule, a scenario per role, faults between pairs of hosts, and sites of one's own"
pytest -q -n 2 --no-loadscope-reorder --durations=30 "${which[@]}" tests/molecule tests/faults tests/sites || failed=$?
stage "the chain on the lab"
wait "$chain" || failed=$?
chain=
cat build/integration.log
stage "done"
exit "$failed"
