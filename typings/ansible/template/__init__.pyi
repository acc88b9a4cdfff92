from collections.abc import Mapping
from typing import Any

from ..parsing.dataloader import DataLoader

class Templar:
    def __init__(self, loader: DataLoader, variables: Mapping[str, Any] | None = ...) -> None: ...
    def template(self, variable: Any, *, escape_backslashes: bool = ...) -> Any: ...

def trust_as_template(value: str) -> str: ...
