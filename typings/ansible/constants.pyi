from typing import Any

DEFAULT_HOST_LIST: list[str]
DEFAULT_LOCAL_TMP: str
DEFAULT_REMOTE_USER: str | None
DEFAULT_ROLES_PATH: list[str]
config: Any
_ACTION_SETUP: frozenset[str]
CACHE_PLUGIN: str
