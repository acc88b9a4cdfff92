from typing import Any

recursive_finder: Any

def modify_module(**arguments: Any) -> Any: ...
