from typing import Any

class Display:
    banner: Any
    _warning: Any
    _error: Any
    _deprecated: Any
    def display(self, msg: str, color: str | None = ..., stderr: bool = ...) -> None: ...
    def warning(self, msg: str) -> None: ...
