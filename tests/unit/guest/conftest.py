"""Two nodes whose every request is held against the official schemas, where these are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bascule.guest import prepare
from bascule.guest.io import disk_source

from . import fake_containers, fake_node
from . import schema as official


@pytest.fixture
def fake() -> ModuleType:
    """The node in memory."""
    return fake_node


@pytest.fixture
def schema() -> ModuleType:
    """The official schemas."""
    return official


@pytest.fixture
def checked() -> Callable[[str, str, Mapping[str, Any]], None]:
    """Check a request against every official schema at hand; without one, check nothing."""
    versions = [version for version in ("8.4", "9.1") if official.available(version)]

    def check(method: str, path: str, values: Mapping[str, Any]) -> None:
        for version in versions:
            official.check(version, method, path, values)

    return check


@pytest.fixture
def nodes(checked: Any) -> Any:
    """Two nodes, a running guest at the first."""
    return fake_node.pair(checked)


@pytest.fixture(autouse=True)
def activated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it stands which volumes were activated to be read."""
    monkeypatch.setattr(disk_source, "ACTIVATED", tmp_path / "activated")
    return tmp_path / "activated"


@pytest.fixture(autouse=True)
def library_standin(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for Perl with Proxmox's library: it says that it has done what it was asked, and logs that."""
    place = tmp_path_factory.mktemp("library")
    perl = place / "perl"
    perl.write_text(f'#!/bin/sh\ncase "$*" in *deactivate*) word=off;; *) word=on;; esac\necho $word >> {place}/log\n')
    perl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return place / "log"


@pytest.fixture
def prepared(nodes: Any) -> Any:
    """The same after prepare."""
    here, there, source, target = nodes
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, archive["volid"], began=True)
    here.requests.clear()
    there.requests.clear()
    return nodes


@pytest.fixture
def containers(nodes: Any) -> Any:
    """Two nodes, a running container at the first."""
    return fake_containers.moved(nodes)


@pytest.fixture
def copied(containers: Any) -> Any:
    """The same after prepare."""
    here, there, source, target = containers
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, archive["volid"], began=True)
    here.requests.clear()
    there.requests.clear()
    return containers


@pytest.fixture(autouse=True)
def umask_given_back() -> Iterator[None]:
    """Give back the umask that a host's program sets for its own process: here it would be that of the next tests."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)
