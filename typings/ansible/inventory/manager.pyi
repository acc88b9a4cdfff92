import re
from typing import Any

IGNORED: re.Pattern[bytes]

class InventoryManager:
    hosts: dict[str, Any]
    def __init__(self, loader: Any, sources: list[str] | None = ..., parse: bool = ..., cache: bool = ...) -> None: ...
