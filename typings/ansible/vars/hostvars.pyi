from typing import Any

class HostVars:
    def __init__(self, inventory: Any, variable_manager: Any, loader: Any) -> None: ...
