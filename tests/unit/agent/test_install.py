"""Installing the host agent: what it must know before it may take the place of another one."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from bascule.agent.io import build
from bascule.agent.io import install as agent_install
from bascule.errors import StoreError
from bascule.guard.io import store
from bascule.system.io import process


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host in a directory, whose service manager does as it is told."""
    monkeypatch.setattr(agent_install, "STATE", tmp_path / "lib")
    monkeypatch.setattr(agent_install, "AGENT", tmp_path / "agent/bascule.pyz")
    monkeypatch.setattr(agent_install, "UNIT", tmp_path / "units/bascule-boot.service")
    monkeypatch.setattr(process, "run", lambda argv, **_: None)
    return tmp_path


def stands(host: Path, component: str, fence: Any) -> None:
    """Give the host a side of a component, and what its prepare left."""
    store.adopt(component, "here", "closed", root=host / "lib/guard")
    (host / "lib" / component).mkdir()
    (host / "lib" / component / "fence.json").write_text(fence if isinstance(fence, str) else json.dumps(fence))


def install(content: bytes) -> None:
    """Install that agent."""
    agent_install.install(base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest(), "unit")


def test_the_agent_of_these_sources_knows_every_kind_there_is(host: Path) -> None:
    for kind in ("entrance", "files", "postgresql"):
        stands(host, f"a_{kind}", {"kind": kind})
    stands(host, "torn", "{")
    install(build.build())
    assert (host / "agent/bascule.pyz").read_bytes() == build.build()


def test_an_agent_that_lacks_a_kind_in_use_takes_nobody_s_place(host: Path) -> None:
    install(build.build())
    stands(host, "served", {"kind": "entrance"})
    stands(host, "picture", {"kind": "hologram"})
    (host / "lib/gone").mkdir()
    (host / "lib/gone/fence.json").write_text('{"kind": "of a component without a guard"}')
    newer = build.build() + b"\n"
    with pytest.raises(StoreError, match=r"knows nothing of picture \(hologram\): .*the agent that is here stays"):
        install(newer)
    assert (host / "agent/bascule.pyz").read_bytes() == build.build()


def test_what_is_no_agent_is_refused(host: Path) -> None:
    with pytest.raises(StoreError, match="expected: the host agent; found: File is not a zip file"):
        install(b"#!/bin/sh")
    assert not (host / "agent").exists()
