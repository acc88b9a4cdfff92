"""The recorder's service, started by its unit: `files_recorder PATH [--queue system] [--memory MB]`.

Its directories come from the unit, as systemd hands them over.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..errors import BasculeError
from ..io import recorder_service


def main(argv: list[str]) -> int:
    """Record until stopped."""
    parser = argparse.ArgumentParser(prog="files_recorder")
    parser.add_argument("path")
    parser.add_argument("--queue", choices=("unlimited", "system"), default="unlimited")
    parser.add_argument("--memory", type=int, default=recorder_service.MEMORY >> 20)
    given = parser.parse_args(argv)
    state, runtime = (Path(os.environ[name]) for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY"))
    try:
        recorder_service.serve(
            given.path, state, runtime, unlimited=given.queue == "unlimited", memory=given.memory << 20
        )
    except BasculeError as error:
        sys.stderr.write(error.message() + "\n")
        return 1
    return 0
