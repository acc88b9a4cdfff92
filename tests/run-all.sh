#!/usr/bin/env bash
# The whole pyramid, cheapest first. What needs no lab runs while the lab's images are built.
set -euo pipefail
cd "$(dirname "$0")/.."
start=$SECONDS
stage() { printf '\n== %s (after %d s)\n' "$1" $((SECONDS - start)); }

mkdir -p build
stage "images of the lab, in the background"
python tests/lab/lab.py image >build/image.log 2>&1 &
image=$!
trap 'kill "$image" 2>/dev/null || true; python tests/lab/lab.py down >build/down.log 2>&1 || cat build/down.log' EXIT

stage "lint"
tests/lint.sh
stage "unit and meta tests"
pytest -q -n 2 tests/unit tests/meta
stage "images of the lab"
wait "$image" || { cat build/image.log; exit 1; }
tail -n 3 build/image.log
stage "Molecule, a scenario per role; things broken on purpose between pairs of hosts"
pytest -q -n 2 --durations=30 tests/molecule tests/faults
stage "integration on the lab"
pytest -q -x tests/integration
stage "done"
