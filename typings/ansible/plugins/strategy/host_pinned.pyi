from collections import deque
from typing import Any

class StrategyModule:
    _tqm: Any
    _loader: Any
    _inventory: Any
    _variable_manager: Any
    _workers: list[Any]
    _final_q: Any
    _results: deque[Any]
    _hosts_cache: list[str]
    _hosts_cache_all: list[str]
    _queued_task_cache: dict[tuple[str, str], dict[str, Any]]
    _pending_results: int

    def __init__(self, tqm: Any) -> None: ...
    def run(self, iterator: Any, play_context: Any) -> Any: ...
    def cleanup(self) -> None: ...
    def add_tqm_variables(self, vars: dict[str, Any], play: Any) -> None: ...
    def _execute_meta(self, task: Any, play_context: Any, iterator: Any, target_host: Any = None) -> Any: ...
    def _process_pending_results(
        self, iterator: Any, one_pass: bool = False, max_passes: int | None = None
    ) -> list[Any]: ...
    def _queue_task(self, host: Any, task: Any, task_vars: Any, play_context: Any) -> None: ...
