from typing import Any

class Task:
    def dump_attrs(self) -> dict[str, Any]: ...
