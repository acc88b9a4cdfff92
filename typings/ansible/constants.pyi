from typing import Any

DEFAULT_ROLES_PATH: list[str]
config: Any
_ACTION_SETUP: frozenset[str]
