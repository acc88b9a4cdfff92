"""The tree as a whole: nothing of one machine in it, no escapes, files of one subject."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from .tree import ROOT, load, text_of, tracked

HERE = Path(__file__)
LONGEST = 500


def lines_with(pattern: str, suffixes: tuple[str, ...] = ()) -> list[str]:
    """Return where a pattern stands in tracked text files, this file apart."""
    wanted = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if path != HERE and (not suffixes or path.suffix in suffixes)
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if wanted.search(line)
    ]


def test_no_path_of_one_machine() -> None:
    assert lines_with(r"/(?:work|farm)/(?:main|shared|steering|in\b|\.library)|/tmp/w/|/home/\w+/") == []


def test_no_loose_ends_and_no_escapes() -> None:
    code = (".py", ".yml", ".yaml", ".sh")
    # The marks of what is unfinished; this line, which names them, lies outside the files that are read.
    assert lines_with(r"\b(?:TODO|FIXME|XXX)\b|NotImplementedError", code) == []
    assert lines_with(r"pytest\.mark\.(?:skip\b|xfail)|#\s*noqa|type:\s*ignore", (".py",)) == []
    assert lines_with(r"^\s*(?:ignore_errors:\s*(?:true|yes)|failed_when:\s*false)", (".yml", ".yaml")) == []
    assert "skip_list" not in (ROOT / ".ansible-lint").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", [p for p in tracked() if p.suffix == ".py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_a_python_file_has_one_subject(path: Path) -> None:
    assert len(text_of(path).splitlines()) <= LONGEST


def test_no_large_file() -> None:
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1 << 20]
    assert large == []


def test_no_private_key() -> None:
    assert lines_with("-----BEGIN " + r"(?:\w+ )?PRIVATE KEY-----") == []


def test_collections_in_use_are_declared() -> None:
    declared = {entry["name"] for entry in load(ROOT / "requirements.yml")["collections"]} | {"ansible.builtin"}
    used = set()
    for path in tracked():
        if path.suffix == ".yml" and path.parts[len(ROOT.parts)] in ("roles", "playbooks", "tests"):
            used |= set(
                re.findall(r"^\s*(?:- )?((?:ansible|community|containers)\.[a-z_]+)\.[a-z_]+:", text_of(path), re.M)
            )
    assert used <= declared


def test_yaml_parses() -> None:
    for path in tracked():
        if path.suffix in (".yml", ".yaml") and ".j2" not in path.name:
            list(yaml.compose_all(text_of(path), Loader=yaml.CSafeLoader))


def test_the_licence_is_the_whole_licence() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "GNU GENERAL PUBLIC LICENSE" in text
    assert "Version 3" in text
    assert len(text.splitlines()) > 600
