#!/usr/bin/env bash
# Fetches what the tests' applications in Python depend on, for the hosts' Python, once: tests/apps/NAME/requirements.txt
# into .venv/wheels/NAME. `make install` calls it, so that no test asks a registry.
set -euo pipefail
cd "$(dirname "$0")/../.."
for needed in tests/apps/*/requirements.txt; do
    name=$(basename "$(dirname "$needed")")
    place=.venv/wheels/$name
    if cmp --silent "$needed" "$place/fetched.txt"; then
        continue
    fi
    rm -rf "$place"
    .venv/bin/python -m pip download --quiet --disable-pip-version-check --dest "$place" --only-binary :all: --python-version 3.11 \
        -r "$needed" pip
    cp "$needed" "$place/fetched.txt"
done
