from typing import Any

class _RawTaskResult:
    host: Any
    task: Any
    _return_data: dict[str, Any]

    def __init__(self, host: Any, task: Any, return_data: Any, task_fields: Any) -> None: ...
    def is_failed(self) -> bool: ...
    def is_unreachable(self) -> bool: ...
