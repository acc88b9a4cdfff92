"""An archive of evidence, verified by its own script with the real ssh-keygen: what was done to it is found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import BasculeError
from bascule.report import evidence
from bascule.report.io import archive, verify
from bascule.run import chain, plans, seals
from bascule.run.io import signing
from bascule.run.io.journal import Journal

SALT = "5a17" * 8
Lines = list[chain.Entry]


def journal(path: Path, controller: str = "c", last: bool = True, run: str = "r", **start: Any) -> Journal:
    """Return the journal of a decision: a gate with its seal, what came after it, and the seal of its end."""
    made = Journal(path / "runs", run, controller, "d")
    made.append("state", data={"event": "start", "plan": "toy", "phase": "pretest", "heads": {}, **start})
    made.append("decision", phase="cutover", data={"decision": "plan made", "id": "4711", "checksum": "abc"})
    made.append("sample", phase="pretest", verb="check", component="db", data={"name": "lag", "value": 1, "go": True})
    assert signing.seal(made) == ""
    made.append("state", phase="verify", component="db", data={"event": "verify", "found": {"rows_compared": 3}})
    if last:
        assert signing.seal(made, last=True) == ""
    return made


def packed(path: Path, copies: dict[str, Lines], **others: bytes) -> Path:
    """Pack these copies of the journal, signed by the key of this path."""
    runs = path / "runs"
    about = {"run": "r", "plan": "toy", "controller": "c"}
    heads = {"journal": chain.heads(chain.merge(*copies.values()))}
    files = evidence.contents(
        about,
        {name: "".join(map(chain.line, lines)) for name, lines in copies.items()},
        {"report/summary.json": json.dumps(heads).encode(), **others},
        [{"id": "4711", "salt": SALT, "checksum": "abc"}],
        [],
        Path(verify.__file__).read_text(),
    )
    files[verify.SIGNERS] = signing.signers(runs, "c").encode()
    sums = evidence.digests(files)
    files |= {verify.SUMS: sums.encode(), verify.SIGNATURE: signing.sign(runs, "c", sums, signing.EVIDENCE).encode()}
    archive.write(path / "e.tar.gz", "e", files)
    return path / "e.tar.gz"


def verified(path: Path, *arguments: str) -> tuple[int, str]:
    """Take the archive apart, and have the script in it verify the folder, with nothing of this project."""
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    # As an auditor does it, whatever the Python.
    folder.mkdir()
    subprocess.run(["tar", "-C", str(folder), "-xzf", str(path)], check=True, timeout=60)
    return script(folder / "e/verify.py", *arguments)


def script(what: Path, *arguments: str) -> tuple[int, str]:
    """Run a script, with nothing but the standard library of Python."""
    line = [sys.executable, "-I", "-S", str(what), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, done.stdout + done.stderr


def mark(path: Path) -> str:
    """Return the fingerprint of this controller's key."""
    return seals.fingerprint(signing.public(path / "runs", "c"))


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Return the entries of a sealed chain."""
    return journal(tmp_path).read().entries


def test_all_is_proved_to_who_knows_the_key_and_not_to_others(tmp_path: Path, lines: Lines) -> None:
    made = packed(tmp_path, {"here": lines, "mtp.j": lines, "tls.j": lines})
    code, said = verified(made, "--key", mark(tmp_path))
    assert code == verify.OK, said
    assert "chain of c, decision d: 6 entries, sealed 2 times, to its end" in said
    assert "3 samples, decisions, proofs and windows" in said
    assert "NOT PROVED\n  nothing\n" in said
    code, said = verified(made)
    assert code == verify.UNPROVED
    assert f"that {mark(tmp_path)} is the key of c: give it with --key" in said
    # A tar.gz as well as a folder.
    assert verify.main([str(made), "--key", mark(tmp_path)]) == verify.OK


def test_the_same_is_packed_the_same(tmp_path: Path, lines: Lines) -> None:
    first = packed(tmp_path, {"here": lines}).read_bytes()
    assert packed(tmp_path, {"here": lines}).read_bytes() == first


def test_the_constants_of_the_script_are_those_of_the_project() -> None:
    assert (verify.ABOUT, verify.EXTRACT, verify.EVIDENCE) == (evidence.ABOUT, evidence.EXTRACT, evidence.NAMESPACE)
    assert (verify.EVIDENCE, verify.JOURNAL) == (signing.EVIDENCE, seals.NAMESPACE)
    assert verify.USED == plans.USED


def change(name: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what changes a file of an archive that was taken apart."""

    def done(folder: Path) -> None:
        (folder / name).write_bytes(content((folder / name).read_bytes()))

    return done


def without_line(number: int) -> Callable[[bytes], bytes]:
    return lambda text: b"".join(line for place, line in enumerate(text.splitlines(True)) if place != number)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (change("journal/here.jsonl", without_line(5)), "journal/here.jsonl is not the file that was packed"),
        (change("journal/here.jsonl", without_line(2)), "entry 4 does not follow entry 2"),
        (change("journal/here.jsonl", lambda text: text.replace(b'"value":1', b'"value":0')), "entry 3 was changed"),
        (change("extract.json", lambda text: text.replace(b'"value": 1', b'"value": 0')), "does not stand so in the"),
        (change("extract.json", lambda _: b"{}"), "2 samples or decisions of the journal are not in it"),
        (change("report/summary.json", lambda _: b'{"journal": {"c-d": "0"}}'), "made from another journal"),
        (change("verify.py", lambda text: text + b"\n"), "verify.py is not the file that was packed"),
        (change("SHA256SUMS", lambda text: text.replace(b"a", b"b")), "list of digests is not signed by the key of c"),
        (change("plan/4711.json", lambda text: text.replace(b"abc", b"abd")), "knows no plan with its checksum"),
        (lambda folder: (folder / "plan/4711.json").unlink(), "plan/4711.json is gone"),
        (lambda folder: (folder / "more.txt").touch(), "more.txt is not one of the archive's files"),
    ],
)
def test_what_was_done_to_the_archive_is_found(
    tmp_path: Path, lines: Lines, harm: Callable[[Path], None], why: str
) -> None:
    made = packed(tmp_path, {"here": lines})
    assert verified(made)[0] == verify.UNPROVED
    folder = made.with_suffix("") / "e"
    harm(folder)
    # The script that is installed: the one in the archive may be the one that was changed.
    code, said = script(Path(verify.__file__), str(folder), "--key", mark(tmp_path))
    assert code == verify.WRONG, said
    assert why in said


def rebuilt(lines: Lines, **changes: Any) -> Lines:
    """Return a chain whose hashes hold, made anew by who can write files."""
    made: Lines = []
    for entry in lines:
        data = {**entry["data"], **(changes if entry["kind"] == "sample" else {})}
        made.append(chain.make(made[-1] if made else None, {**entry, "data": data}))
    assert chain.verify(made) == []
    return made


def test_a_chain_that_was_made_anew_before_it_was_packed_is_found(tmp_path: Path, lines: Lines) -> None:
    code, said = verified(packed(tmp_path, {"here": rebuilt(lines, value=0)}), "--key", mark(tmp_path))
    assert code == verify.WRONG, said
    assert "the seal 4 is of another chain than this" in said
    bare = rebuilt([entry for entry in lines if entry["data"].get("event") != seals.EVENT], value=0)
    code, said = verified(packed(tmp_path, {"here": bare}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, said
    assert "it has no seal that holds, so it may have been made anew" in said
    code, said = verified(packed(tmp_path, {"here": bare, "mtp.j": lines}), "--key", mark(tmp_path))
    assert code == verify.WRONG, "a site holds another one"
    assert "the copies differ" in said


def test_entries_before_a_seal_that_was_used_again_are_not_sealed(tmp_path: Path, lines: Lines) -> None:
    *signed, seal = lines
    forged = {**lines[2], "data": {**lines[2]["data"], "value": 0}}
    for entry in (forged, seal):
        signed.append(chain.make(signed[-1], entry))
    assert chain.verify(signed) == []
    code, said = verified(packed(tmp_path, {"here": signed, "mtp.j": signed}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, said
    assert "the 2 entries after its last seal" in said


def test_what_was_only_tried_proves_nothing_and_is_told(tmp_path: Path, lines: Lines) -> None:
    tried = Journal(tmp_path / "runs", "r", "c", "t")
    tried.append("state", data={"event": "start", "phase": "pretest", "check_mode": True})
    tried.append("sample", phase="pretest", data={"name": "lag", "value": 0, "go": True})
    both = tried.read().entries
    code, said = verified(packed(tmp_path, {"here": both, "mtp.j": lines}), "--key", mark(tmp_path))
    assert code == verify.OK, said
    assert "only tried (--check): chain of c, decision t" in said
    assert "3 samples, decisions, proofs and windows" in said, "those of the chain that is real"
    # A real chain cannot get rid of its seals by calling itself a try.
    called = [{**one, "data": {**one["data"], "check_mode": True}} if one["n"] == 1 else one for one in lines]
    code, said = verified(packed(tmp_path, {"here": rebuilt(called)}), "--key", mark(tmp_path))
    assert code == verify.WRONG, said
    assert "it says that it was only tried, and has a seal" in said
    bare = rebuilt([one for one in called if one["data"].get("event") != seals.EVENT], value=0)
    code, said = verified(packed(tmp_path, {"here": bare, "mtp.j": bare}), "--key", mark(tmp_path))
    assert code != verify.OK, said
    assert "all that is here was only tried" in said
    assert "0 samples, decisions, proofs and windows" in said


def test_a_copy_of_a_site_that_is_not_there_is_missed(tmp_path: Path) -> None:
    made = journal(tmp_path, heads={"mtp": {}}, unreachable={"tls": "timed out"}).read().entries
    copies = {"here": made, "mtp.j": made, "tls.j": made}
    assert verified(packed(tmp_path, copies), "--key", mark(tmp_path))[0] == verify.OK
    code, said = verified(packed(tmp_path, {"here": made, "mtp.j": made}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, said
    assert "no copy of site tls is here" in said
    assert "no copy of site mtp" not in said
    code, said = verified(packed(tmp_path, {"here": made}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, said
    assert "it rests on the controller's own copy alone" in said


def test_the_journal_of_another_run_is_found(tmp_path: Path, lines: Lines) -> None:
    other = journal(tmp_path, run="q").read().entries
    code, said = verified(packed(tmp_path, {"here": other, "mtp.j": other}), "--key", mark(tmp_path))
    assert code == verify.WRONG, said
    assert "journal/here.jsonl: entries of another run: q" in said
    assert verified(packed(tmp_path, {"here": lines, "mtp.j": lines}), "--key", mark(tmp_path))[0] == verify.OK


def test_a_plan_that_was_used_and_is_not_there_is_missed(tmp_path: Path) -> None:
    made = journal(tmp_path, last=False)
    made.append("decision", phase="cutover", data={"decision": plans.USED, "id": "0815", "checksum": "def"})
    assert signing.seal(made, last=True) == ""
    entries = made.read().entries
    code, said = verified(packed(tmp_path, {"here": entries, "mtp.j": entries}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, said
    assert "plan 0815, which was used, is not here" in said


@pytest.mark.parametrize(
    ("kept", "why"),
    [(5, "the 1 entries after its last seal"), (4, "its end: its controller was killed, or its tail was cut")],
)
def test_a_tail_that_was_cut_before_it_was_packed_is_found(tmp_path: Path, lines: Lines, kept: int, why: str) -> None:
    code, said = verified(packed(tmp_path, {"here": lines[:kept]}), "--key", mark(tmp_path))
    assert (code, why in said) == (verify.UNPROVED, True), said
    code, said = verified(packed(tmp_path, {"here": lines[:kept], "tls.j": lines}), "--key", mark(tmp_path))
    assert code == verify.WRONG, said
    assert f"journal/here.jsonl has {kept} of its 6 entries" in said
    code, said = verified(packed(tmp_path, {"here": lines, "tls.j": lines[:kept]}), "--key", mark(tmp_path))
    assert code == verify.UNPROVED, "a site may have been silent"
    assert f"journal/tls.j.jsonl has {kept} of its 6 entries" in said


def test_a_foreign_key_is_found(tmp_path: Path, lines: Lines) -> None:
    own = mark(tmp_path)
    forger = tmp_path / "forger"
    forged = journal(forger).read().entries
    made = packed(forger, {"here": forged})
    assert verified(made)[0] == verify.UNPROVED, "it vouches for itself alone"
    code, said = verified(made, "--key", own)
    assert code == verify.WRONG, said
    assert f"signed by {mark(forger)}, and not by a key you have named" in said
    # Sealed by one key, packed by another.
    code, said = verified(packed(tmp_path, {"here": forged}), "--key", own)
    assert code == verify.WRONG, said
    assert "the seal 4 is by a key that is none of c" in said
    # Of another controller nobody here vouches for the key.
    other = journal(tmp_path / "other", "another").read().entries
    code, said = verified(packed(tmp_path, {"here": [*lines, *other]}), "--key", own)
    assert code == verify.UNPROVED, said
    assert f"that {seals.fingerprint(signing.public(tmp_path / 'other/runs', 'another'))} is the key of another" in said


def test_links_and_odd_names_are_not_taken(tmp_path: Path, lines: Lines) -> None:
    made = packed(tmp_path, {"here": lines})
    verified(made)
    odd = made.with_suffix("") / "e/odd"
    odd.symlink_to("/etc/passwd")
    assert verify.main([str(odd.parent)]) == verify.NOTHING
    odd.unlink()
    # Whoever reads it would wait for ever.
    os.mkfifo(odd)
    assert verify.main([str(odd.parent)]) == verify.NOTHING
    assert verify.main([str(tmp_path / "none")]) == verify.NOTHING


def test_no_secret_is_packed(tmp_path: Path, lines: Lines) -> None:
    texts = verify.load(str(packed(tmp_path, {"here": lines}))).values()
    assert not any(SALT.encode() in text for text in texts), "with the salt variables could be found by trying"
    assert b"OPENSSH PRIVATE" in (tmp_path / "runs/.signing/key").read_bytes()
    assert not any(b"OPENSSH PRIVATE" in text for text in texts)
    files = {"a": b'x pa\\"ss-1 y'}
    table = {"vault_users": [{"name": "account", "password": 'pa"ss-1'}], "vault_none": None, "vault_keys": ["text"]}
    assert evidence.secrets(table) == {"vault_users[0].password": 'pa"ss-1', "vault_keys[0]": "text"}
    evidence.must_be_free_of({"vault_a": "other-1", "vault_b": "x"}, files)
    with pytest.raises(BasculeError, match="the value of vault_c in a") as refused:
        evidence.must_be_free_of({"vault_c": 'pa"ss-1'}, files)
    assert "ss-1" not in str(refused.value)
