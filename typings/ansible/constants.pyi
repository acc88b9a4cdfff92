from typing import Any

DEFAULT_BECOME_METHOD: str
DEFAULT_HOST_LIST: list[str]
DEFAULT_LOCAL_TMP: str
DEFAULT_ROLES_PATH: list[str]
config: Any
_ACTION_SETUP: frozenset[str]
CACHE_PLUGIN: str
