from typing import Any

class ValidationResult:
    error_messages: list[str]

class ArgumentSpecValidator:
    def __init__(self, argument_spec: dict[str, Any]) -> None: ...
    def validate(self, parameters: dict[str, Any]) -> ValidationResult: ...
