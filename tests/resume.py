"""A pytest plugin: long sets say what they ran, and go on where they were interrupted.

`pytest -p tests.resume --resume FILE` writes down each scope whose tests have all passed, and leaves it out when it is
called again for the same sources. A scope is what shares hosts: a file, or a single test where nothing is shared. With
other sources everything is run again.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Here each test has hosts of its own.
_ALONE = "tests/molecule/"


def sources(root: Path = ROOT) -> str:
    """Return a digest of what git knows and what lies beside it, so that a result belongs to its sources."""
    digest = hashlib.sha256()
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in sorted(set(names.split("\0"))):
        path = root / name
        if name and path.is_file():
            digest.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def scope_of(nodeid: str) -> str:
    """Return the scope of a test; files that share hosts are one."""
    if nodeid.startswith(_ALONE):
        return nodeid
    # Not before it is asked for: a plugin is loaded before the tests are.
    from tests.faults.conftest import scope_of_file

    return scope_of_file(nodeid.partition("::")[0])


class Record:
    """Which scopes have passed, in a file of JSON lines: the sources first, then a line per scope."""

    def __init__(self, path: Path, tree: str) -> None:
        self.path = path
        self.kept: set[str] = set()
        self._waiting: dict[str, set[str]] = {}
        self._failed: set[str] = set()
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        if lines and lines[0].get("sources") == tree:
            self.kept = {line["passed"] for line in lines[1:]}
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"sources": tree}) + "\n")

    def expect(self, nodeids: Iterable[str]) -> None:
        """Take note of what is about to run."""
        for nodeid in nodeids:
            self._waiting.setdefault(scope_of(nodeid), set()).add(nodeid)

    def ended(self, nodeid: str, when: str, outcome: str) -> None:
        """Take note of how a step of a test has ended; only passed tests make a scope pass."""
        scope = scope_of(nodeid)
        if outcome != "passed":
            self._failed.add(scope)
        if when != "teardown":
            return
        left = self._waiting.get(scope, set())
        left.discard(nodeid)
        if not left and scope not in self._failed:
            with self.path.open("a") as stream:
                stream.write(json.dumps({"passed": scope}) + "\n")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--resume", metavar="FILE", help="leave out what has passed before with the same sources")


def pytest_configure(config: pytest.Config) -> None:
    """Read what has passed; a worker is told by the process that started it."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_KEPT] = set(worker.get("kept", []))
    elif given := config.getoption("--resume"):
        record = Record(Path(given), sources())
        config.stash[_RECORD], config.stash[_KEPT] = record, set(record.kept)


_RECORD: pytest.StashKey[Record] = pytest.StashKey()
_KEPT: pytest.StashKey[set[str]] = pytest.StashKey()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker what to leave out."""
    node.workerinput["kept"] = sorted(node.config.stash.get(_KEPT, set()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has passed."""
    kept = config.stash.get(_KEPT, set())
    out = [item for item in items if scope_of(item.nodeid) in kept]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if scope_of(item.nodeid) not in kept]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Without workers: what is about to run."""
    if record := session.config.stash.get(_RECORD, None):
        record.expect(item.nodeid for item in session.items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: Sequence[str]) -> None:
    """With workers: each of them has found the same."""
    if record := node.config.stash.get(_RECORD, None):
        record.expect(ids)


class _Reports:
    def __init__(self, record: Record) -> None:
        self.record = record

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.record.ended(report.nodeid, report.when or "", report.outcome)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Listen to results where they come together."""
    if record := session.config.stash.get(_RECORD, None):
        session.config.pluginmanager.register(_Reports(record))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run that had nothing left to do has succeeded."""
    record = session.config.stash.get(_RECORD, None)
    if record and record.kept and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """List what was left out as it had passed before."""
    kept: set[str] = config.stash.get(_KEPT, set())
    for scope in sorted(kept):
        terminalreporter.write_line(f"passed before: {scope}")
