from typing import Any

connection_loader: Any
