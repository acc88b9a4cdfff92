"""Run k6 on this machine, and take the samples of it."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ...errors import CommandFailed
from ...system.io.process import run
from .. import load_test


def measure(want: load_test.Wanted, program: Sequence[str] = ()) -> list[load_test.Sample]:
    """Put the load on the addresses and return the samples; it takes `want.duration_seconds` and a little.

    Raises:
        CommandFailed: there is no k6, it ran long after its time, ended with an error, or left no summary.
    """
    with tempfile.TemporaryDirectory(prefix="bascule-load-") as folder:
        summary = Path(folder, "summary.json")
        before, began = _seconds_of_children(), time.monotonic()
        options = ["--quiet", "--no-usage-report", "--summary-export", str(summary)]
        run(
            [*_as_told(), *(program or _k6()), "run", *options, "-"],
            stdin=load_test.script(want),
            timeout=want.duration_seconds + want.patience_seconds + 60,
            cwd=folder,
        )
        wall, cpu = time.monotonic() - began, _seconds_of_children() - before
        try:
            text = summary.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandFailed(expected="a summary of k6", found=str(error)) from error
    return load_test.samples(text, cpu, wall, os.cpu_count() or 0)


def _k6() -> list[str]:
    """Return the machine's k6, or the one that was installed with this project."""
    return [shutil.which("k6") or str(Path(sys.executable).with_name("k6"))]


def _as_told() -> list[str]:
    """Return what keeps from k6 the settings of this environment, which count more for it than its script."""
    names = [name for name in os.environ if name.startswith("K6_")]
    return ["env", *(word for name in names for word in ("-u", name))] if names else []


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
