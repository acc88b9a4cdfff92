from typing import Any

class ActionBase:
    _requires_connection: bool
    _supports_check_mode: bool
    _supports_async: bool
    _task: Any
    _connection: Any
    _play_context: Any
    _loader: Any
    _templar: Any
    _shared_loader_obj: Any
    def _find_needle(self, dirname: str, needle: str) -> str: ...
    def run(self, tmp: Any = ..., task_vars: Any = ...) -> dict[str, Any]: ...
    def validate_argument_spec(
        self,
        argument_spec: dict[str, Any] | None = ...,
        mutually_exclusive: Any = ...,
        required_together: Any = ...,
        required_one_of: Any = ...,
        required_if: Any = ...,
        required_by: Any = ...,
    ) -> tuple[Any, dict[str, Any]]: ...
    def _execute_module(
        self,
        module_name: str | None = ...,
        module_args: dict[str, Any] | None = ...,
        task_vars: Any = ...,
        **kwargs: Any,
    ) -> dict[str, Any]: ...
    def _update_module_args(self, module_name: str, module_args: Any, task_vars: Any) -> None: ...
    def _parse_returned_data(self, res: dict[str, Any], profile: str) -> dict[str, Any]: ...
    def _remove_tmp_path(self, tmp_path: Any) -> None: ...
