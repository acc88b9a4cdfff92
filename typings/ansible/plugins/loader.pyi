from typing import Any

become_loader: Any
callback_loader: Any
connection_loader: Any
module_loader: Any
action_loader: Any
filter_loader: Any
test_loader: Any
module_utils_loader: Any

def init_plugin_loader(prefix_collections_path: list[str] | None = ...) -> None: ...
def get_plugin_loader_namespace() -> Any: ...
