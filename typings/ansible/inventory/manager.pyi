from typing import Any

class InventoryManager:
    hosts: dict[str, Any]
    def __init__(self, loader: Any, sources: list[str] | None = ..., parse: bool = ..., cache: bool = ...) -> None: ...
