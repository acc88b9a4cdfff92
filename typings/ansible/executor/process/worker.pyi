from typing import Any

current_worker: Any

class WorkerProcess:
    pid: int | None
    exitcode: int | None
    worker_id: int
    _host: Any
    _task: Any
    _task_vars: Any
    _play_context: Any
    _loader: Any
    _shared_loader_obj: Any
    _final_q: Any
    worker_queue: Any
    _variable_manager: Any

    def __init__(self, **options: Any) -> None: ...
    def start(self) -> None: ...
    def is_alive(self) -> bool: ...
    def close(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def _run(self) -> None: ...
