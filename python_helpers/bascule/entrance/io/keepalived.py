"""Read keepalived's configuration on this host, with what it includes, and the addresses that the host has now."""

from __future__ import annotations

import glob
import posixpath
from pathlib import Path

from ...system.io import storage
from ...system.io.process import Runner, run
from .. import keepalived
from ..keepalived import Found
from .workers import main_and_children

_UNIT = "keepalived.service"
# A file may include others, and those again; more than this is a circle.
_MOST = 200


def configuration(runner: Runner = run, proc: Path = Path("/proc"), main: str = keepalived.MAIN) -> Found:
    """Return what the configuration says that keepalived follows; nothing where there is none."""
    path, running = _main(runner, proc, main)
    if not storage.is_file(path):
        found = Found()
        if running:
            found.unread.append(f"it runs, and {path}, which it follows, is not there")
        return found
    files: dict[str, str] = {}
    missing: list[str] = []
    waiting = [path]
    while waiting and len(files) < _MOST:
        one = waiting.pop(0)
        if one in files:
            continue
        text = storage.read_text(one)
        if text is None:
            missing.append(one)
            continue
        files[one] = text
        for pattern in keepalived.included(text):
            wanted = posixpath.normpath(posixpath.join(posixpath.dirname(one), pattern))
            matching = sorted(glob.glob(wanted))
            if not matching and not glob.has_magic(wanted):
                missing.append(wanted)
            waiting += [found for found in matching if storage.is_file(found)]
    return keepalived.read(files, [*missing, *waiting[: 1 if len(files) >= _MOST else 0]])


def here(proc: Path = Path("/proc")) -> set[str]:
    """Return the addresses that this host has now."""
    texts = (storage.read_text(proc / "net" / name) or "" for name in ("fib_trie", "if_inet6"))
    return keepalived.local_addresses(*texts)


def _main(runner: Runner, proc: Path, default: str) -> tuple[str, bool]:
    """Return the file that keepalived was started with, and whether it runs."""
    process, _ = main_and_children(_UNIT, runner, proc)
    words = (storage.read_text(proc / process / "cmdline") or "").split("\0") if process else []
    for number, word in enumerate(words):
        if word in ("-f", "--use-file") and number + 1 < len(words):
            return words[number + 1], True
        for start in ("--use-file=", "-f"):
            if word.startswith(start) and word != start:
                return word[len(start) :], True
    return default, bool(process)
