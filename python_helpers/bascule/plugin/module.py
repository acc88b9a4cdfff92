"""What every module does alike: take arguments, call a helper, return facts or an error with fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Only a module run by Ansible imports this; the host agent never does.
from ansible.module_utils.basic import AnsibleModule

from ..errors import BasculeError
from ..system import work
from ..system.readable import readable

# Options of many modules; plugins/doc_fragments/bascule.py documents them.
COMPONENT: dict[str, Any] = {"component": {"type": "str", "required": True}}
SIDE: dict[str, Any] = {**COMPONENT, "side": {"type": "str", "required": True}}
TREE: dict[str, Any] = {
    "sentinel": {"type": "str", "required": True},
    "account": {"type": "str", "default": "root"},
    "part_allowed": {"type": "bool", "default": False},
}


def run_module(argument_spec: dict[str, Any], main: Callable[[AnsibleModule], dict[str, Any]], **options: Any) -> None:
    """Run `main` with the module's arguments; exit with what it returns, or fail with the fields of its error.

    The result says how long `main` worked.

    Check mode is supported unless `supports_check_mode=False` is given: `main` looks at `module.check_mode`.
    """
    options.setdefault("supports_check_mode", True)
    module = AnsibleModule(argument_spec=argument_spec, **options)
    try:
        result = work.measured(lambda: main(module))
    except BasculeError as error:
        module.fail_json(**readable({"msg": error.message(), "error": type(error).__name__, **error.fields()}))
    module.exit_json(**readable({"changed": False, **result}))
