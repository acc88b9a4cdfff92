#!/usr/bin/env bash
# Every linter, each named before it runs. The first failure does not hide the others.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
step() {
  echo "== $*"
  "$@" || failed+=("$*")
}
step ruff check .
step ruff format --check .
step mypy
step yamllint --strict .
step python tools/role_tables.py --check
step ansible-lint --offline --strict -q
if ((${#failed[@]})); then
  echo "lint failed: ${failed[*]}"
  exit 1
fi
