#!/usr/bin/env bash
# The fault matrix: pairs of hosts and the lab side by side. `runs/faults/summary.json` has every cell, also what was not run.
set -euo pipefail
cd "$(dirname "$0")/.."
chosen=(--cells runs/faults)
[[ -z ${1:-} ]] || chosen+=(-k "$1")
mkdir -p build
# So that an interrupted run knows what it has not run.
pytest -q --collect-only "${chosen[@]}" tests/faults tests/integration >build/cells.log || { cat build/cells.log; exit 1; }
pytest -q "${chosen[@]}" tests/integration >build/matrix.log 2>&1 &
lab=$!
trap 'kill "$lab" 2>/dev/null || true; wait "$lab" 2>/dev/null || true' EXIT
status=0
pytest -q "${chosen[@]}" tests/faults || status=$?
wait "$lab" || status=$?
cat build/matrix.log
exit "$status"
