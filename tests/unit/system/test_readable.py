"""What a host calls its things leaves it as text that everybody can read, whatever bytes there are in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.system.readable import readable

ROOT = Path(__file__).resolve().parents[3]
TEXT = st.text(st.characters(exclude_categories=()), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
MODULE = """#!/usr/bin/python
from ansible.module_utils.bascule.errors import BasculeError
from ansible.module_utils.bascule.plugin.module import run_module


def main(module):
    if module.params["fail"]:
        raise BasculeError(expected="t\\udce9l", found="caf\\udce9", state="", next_command="")
    return {"t\\udce9l": ["caf\\udce9"]}


run_module({"fail": {"type": "bool"}}, main)
"""


@given(VALUES)
def test_every_value_can_travel_and_keeps_its_shape(value: Any) -> None:
    told = readable(value)
    json.dumps(told, ensure_ascii=False).encode("utf-8")
    assert type(told) is type(value)
    assert readable(told) == told


def test_only_stray_bytes_are_written_otherwise() -> None:
    assert readable({"é": ("☃", 3, None, True)}) == {"é": ["☃", 3, None, True]}
    assert readable({"t\udce9l": "caf\udce9"}) == {"t\\udce9l": "caf\\udce9"}


@pytest.mark.parametrize("fail", ["no", "yes"])
def test_a_module_says_nothing_that_is_refused(tmp_path: Path, fail: str) -> None:
    (tmp_path / "odd.py").write_text(MODULE)
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (tmp_path / "here.yml").write_text(json.dumps({"all": {"hosts": {"here": here}}}))
    argv = ["ansible", "here", "-i", str(tmp_path / "here.yml"), "-M", str(tmp_path), "-m", "odd", "-a", f"fail={fail}"]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert "Refusing to deserialize" not in done.stdout + done.stderr
    assert r"caf\\udce9" in done.stdout, done.stdout + done.stderr
    assert (done.returncode == 0) is (fail == "no")
