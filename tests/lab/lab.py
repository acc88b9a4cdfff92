"""The lab: `lab.py up`, `lab.py status`, `lab.py down`. See README.md beside this file."""

from __future__ import annotations

import sys

from bascule_lab.cli import main

if __name__ == "__main__":
    sys.exit(main())
