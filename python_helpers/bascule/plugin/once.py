"""What each worker of a window would do again, done once: plugins are loaded before the first is forked, texts of
templates are compiled once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ansible._internal._templating import _jinja_bits
from ansible.plugins import loader as plugin_loader

# Texts of templates that are kept; a play has some hundreds.
_MOST = 4096


def load_plugins() -> None:
    """Load filters, tests, actions and ways to connect: whoever is forked has them."""
    for loader in (plugin_loader.filter_loader, plugin_loader.test_loader):
        deque(loader.all(), maxlen=0)
    deque(plugin_loader.action_loader.all(class_only=True), maxlen=0)
    for name in ("ssh", "local"):
        plugin_loader.connection_loader.get(name, class_only=True)


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let Ansible compile the text of a template once, not each time it is rendered.

    What comes of it depends on the text, the environment's settings and whether backslashes are escaped: Ansible folds
    no constants. Expressions are parsed as before; only what Python makes of them is kept.
    """
    kind = _jinja_bits.AnsibleEnvironment
    compile_template, compile_python = kind.compile, kind._compile
    kept: dict[Any, Any] = {}

    def remembered(key: Any, make: Any) -> Any:
        found = kept.get(key)
        if found is None:
            if len(kept) >= _MOST:
                kept.clear()
            found = kept[key] = make()
        return found

    def template(environment: Any, source: Any, *args: Any, **options: Any) -> Any:
        if args or options or not isinstance(source, str) or environment._debuggable_template_source:
            return compile_template(environment, source, *args, **options)
        around = _jinja_bits._TemplateCompileContext.current(optional=True)
        names = _jinja_bits._TEMPLATE_OVERRIDE_FIELD_NAMES
        settings = (*(getattr(environment, name) for name in names), around and around.escape_backslashes)
        return remembered((str(source), settings), lambda: compile_template(environment, source))

    def python(environment: Any, source: str, filename: str) -> Any:
        if environment._debuggable_template_source:
            return compile_python(environment, source, filename)
        return remembered((source, filename), lambda: compile_python(environment, source, filename))

    kind.compile, kind._compile = template, python
    try:
        yield
    finally:
        kind.compile, kind._compile = compile_template, compile_python
