"""Seals of a chain, by the real ssh-keygen."""

from __future__ import annotations

import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bascule.run import chain, seals
from bascule.run.io import signing
from bascule.run.io.journal import Journal


def journal(path: Path) -> Journal:
    """Return a journal of three entries."""
    made = Journal(path / "runs", "r", "c", "d")
    for number in range(3):
        made.append("step", data={"number": number})
    return made


def verify(path: Path, text: str, signature: str, namespace: str = seals.NAMESPACE, who: str = "c") -> bool:
    """Ask ssh-keygen whether that is the signature."""
    (path / "sig").write_text(signature)
    allowed = path / "runs/.signing/allowed_signers"
    line = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", who, "-n", namespace, "-s", str(path / "sig")]
    return subprocess.run(line, input=text.encode(), capture_output=True, check=False).returncode == 0


def test_a_seal_names_the_entry_before_it_and_openssh_verifies_it(tmp_path: Path) -> None:
    made = journal(tmp_path)
    assert signing.seal(made, phase="pretest") == ""
    made.append("step")
    assert signing.seal(made, last=True) == ""
    entries = made.read().entries
    assert chain.verify(entries) == []
    first, last = (entry for entry in entries if entry["data"].get("event") == seals.EVENT)
    assert (first["n"], first["phase"], first["data"]["count"], first["data"]["last"]) == (4, "pretest", 3, False)
    assert (last["data"]["count"], last["data"]["head"], last["data"]["last"]) == (5, entries[4]["hash"], True)
    armed = f"-----BEGIN SSH SIGNATURE-----\n{last['data']['signature']}\n-----END SSH SIGNATURE-----\n"
    assert verify(tmp_path, seals.text(entries[4], True), armed)
    assert not verify(tmp_path, seals.text(entries[4], False), armed), "it says that the chain ends there"
    assert not verify(tmp_path, seals.text(entries[3], True), armed)
    assert not verify(tmp_path, seals.text(entries[4], True), armed, namespace="file")
    assert not verify(tmp_path, seals.text(entries[4], True), armed, who="other")


def test_the_key_is_its_owners_alone_and_one_for_all_processes(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(lambda _: signing.public(runs, "c"), range(8)))
    assert len(keys) == 1
    assert stat.S_IMODE((runs / ".signing/key").stat().st_mode) == 0o600
    assert stat.S_IMODE((runs / ".signing").stat().st_mode) == 0o700
    assert sorted(path.name for path in (runs / ".signing").iterdir()) == ["allowed_signers", "key", "key.pub", "lock"]
    told = subprocess.run(["ssh-keygen", "-lf", str(runs / ".signing/key")], capture_output=True, text=True, check=True)
    assert told.stdout.split()[1] == seals.fingerprint(keys.pop())


def test_an_agent_that_never_answers_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The name of such a socket has to be short.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSH_AUTH_SOCK", "agent")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("agent")
        agent.listen()
        assert signing.seal(journal(tmp_path), last=True) == ""
        agent.setblocking(False)
        with pytest.raises(BlockingIOError):
            agent.accept()


def test_what_cannot_be_sealed_is_told_and_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = journal(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "The journal was not sealed" in signing.seal(made)
    assert len(made.read().entries) == 3
    assert signing.seal(Journal(tmp_path / "runs", "r", "c", "other")) == "", "there is nothing to seal"
