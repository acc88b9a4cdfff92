#!/usr/bin/env bash
# Every linter, each named before it runs or is waited for. The first failure does not hide the others.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
step() {
  echo "== $*"
  "$@" || failed+=("$*")
}
# The two that take long work on one processor each.
told=$(mktemp)
mypy >"$told" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2>/dev/null; rm -f "$told"' EXIT
step ruff check .
step ruff format --check .
step yamllint --strict .
step python tools/role_tables.py --check
step ansible-lint --offline --strict -q
echo "== mypy"
wait "$mypy" || failed+=(mypy)
cat "$told"
if ((${#failed[@]})); then
  echo "lint failed: ${failed[*]}"
  exit 1
fi
