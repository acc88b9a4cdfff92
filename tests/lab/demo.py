#!/usr/bin/env python3
"""Moves the lab's live site from Montpellier to Toulouse and back, under load. `make demo`."""

import sys

from client.journey import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
