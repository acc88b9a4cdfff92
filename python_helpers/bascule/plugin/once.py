"""What each worker of a window would do again, done once: plugins are loaded before the first is forked, texts of
templates are compiled once.

It rests on insides of ansible-core 2.19; where they are others, templates are compiled as ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible._internal._templating import _jinja_bits
from ansible.plugins import loader as plugin_loader
from ansible.utils.display import Display

# Texts of templates that are kept; a play has some hundreds.
_MOST = 4096
_OURS = "bascule_"


def load_plugins() -> None:
    """Load filters, tests, our actions and ways to connect: whoever is forked has them.

    Actions of others stay as they are: a role may bring one under the name of another.
    """
    for loader in (plugin_loader.filter_loader, plugin_loader.test_loader):
        deque(loader.all(), maxlen=0)
    ours = {Path(path).stem for path in plugin_loader.action_loader.all(path_only=True)}
    for name in sorted(name for name in ours if name.startswith(_OURS)):
        _load(plugin_loader.action_loader, name)
    for name in ("ssh", "local"):
        _load(plugin_loader.connection_loader, name)


def _load(loader: Any, name: str) -> None:
    """Load a plugin; one that cannot be loaded is told by the task that uses it."""
    try:
        loader.get(name, class_only=True)
    except Exception as error:
        Display().vvv(f"{name} was not loaded: {error}")


@contextmanager
def compiled_once() -> Iterator[None]:
    """Let Ansible compile the text of a template once, not each time it is rendered.

    What comes of it depends on the text, the environment's settings, whether backslashes are escaped, and which filters
    and tests there are: Ansible folds no constants. Expressions are parsed as before; only what Python makes of them is
    kept.
    """
    kind = _jinja_bits.AnsibleEnvironment
    if not is_known(_jinja_bits, kind):
        yield
        return
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
        found = tuple(len(loader._get_paths()) for loader in (plugin_loader.filter_loader, plugin_loader.test_loader))
        settings = (*(getattr(environment, name) for name in names), around and around.escape_backslashes, found)
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


def is_known(module: Any, environment: Any) -> bool:
    """Say whether these are the insides of Ansible that are meant here."""
    return all(hasattr(module, name) for name in ("_TemplateCompileContext", "_TEMPLATE_OVERRIDE_FIELD_NAMES")) and all(
        hasattr(environment, name) for name in ("compile", "_compile", "_debuggable_template_source")
    )
