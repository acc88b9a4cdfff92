"""The text of a template is compiled once, and comes to the same as ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible._internal._templating import _jinja_bits
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader
from ansible.template import Templar, trust_as_template

from bascule.plugin import once

FILTER = """
from jinja2 import pass_context


@pass_context
def late(context, value):
    return "late " + str(value)


class FilterModule:
    def filters(self):
        return {"late": late}
"""
Render = Callable[..., Any]


@pytest.fixture
def render() -> Render:
    """Render a text as a task's argument is."""

    def rendered(text: str, a: int = 1, **options: Any) -> Any:
        variables = {"a": a, "text": "x", "names": ["b", "c"]}
        return Templar(DataLoader(), variables=variables).template(trust_as_template(text), **options)

    return rendered


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("{{ a + 1 }}", {}),
        ("{{ names | map('upper') | list }}", {}),
        ("{{ names | join('\\n') }}", {"escape_backslashes": True}),
        ("{{ names | join('\\n') }}", {"escape_backslashes": False}),
        ("#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ text ]] {{ text }}", {}),
        ("{% for one in names %}{{ one }}{% endfor %}", {}),
        ("{{ missing | default('none') }}", {}),
    ],
)
def test_what_a_text_comes_to_is_the_same_the_first_time_and_the_second(
    render: Render, text: str, options: dict[str, Any]
) -> None:
    expected = render(text, **options)
    other = render(text, **{**options, "escape_backslashes": not options.get("escape_backslashes", True)})
    with once.compiled_once():
        assert [render(text, **options) for _ in range(2)] == [expected, expected]
        assert render(text, **{**options, "escape_backslashes": not options.get("escape_backslashes", True)}) == other


def test_a_text_is_compiled_once(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, compiled = _jinja_bits.AnsibleEnvironment, []
    before = kind.compile

    def counting(environment: Any, source: Any, *args: Any, **options: Any) -> Any:
        compiled.append(str(source))
        return before(environment, source, *args, **options)

    monkeypatch.setattr(kind, "compile", counting)
    with once.compiled_once():
        assert [render("{{ a + 41 }}") for _ in range(3)] == [42, 42, 42]
    assert compiled.count("{{ a + 41 }}") == 1
    assert kind.compile is counting, "what was there before is there again"


def test_a_filter_that_a_role_brings_later_is_found(render: Render, tmp_path: Path) -> None:
    text = "{{ text | late if a == 2 else names | length }}"
    (tmp_path / "late.py").write_text(FILTER)
    with once.compiled_once():
        assert render(text) == 2
        filter_loader.add_directory(str(tmp_path))
        try:
            filter_loader._cached_non_collection_wrappers.clear()
            assert [render(text, a=2), render(text)] == ["late x", 2]
        finally:
            filter_loader._extra_dirs.remove(str(tmp_path))
            filter_loader._paths = None
            filter_loader._cached_non_collection_wrappers.clear()


def test_other_insides_of_ansible_are_left_alone(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    assert once.is_known(_jinja_bits, _jinja_bits.AnsibleEnvironment)
    assert not once.is_known(SimpleNamespace(_TemplateCompileContext=None), _jinja_bits.AnsibleEnvironment)
    assert not once.is_known(_jinja_bits, SimpleNamespace(compile=None))
    monkeypatch.setattr(once, "is_known", lambda *of: False)
    before = _jinja_bits.AnsibleEnvironment.compile
    with once.compiled_once():
        assert _jinja_bits.AnsibleEnvironment.compile is before
        assert render("{{ a }}") == 1
