from typing import Any

class CallbackBase:
    CALLBACK_VERSION: float
    CALLBACK_TYPE: str
    CALLBACK_NAME: str
    _display: Any
    def __init__(self, display: Any = ..., options: Any = ...) -> None: ...
    def get_option(self, k: str) -> Any: ...
