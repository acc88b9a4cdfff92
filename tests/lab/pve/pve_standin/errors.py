"""How things go wrong: an answer with a status, or a task that ends with a text."""

from __future__ import annotations


class ApiError(Exception):
    """An immediate refusal: the reason stands in the status line, `errors` names parameters."""

    def __init__(self, status: int, reason: str, errors: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.errors = errors


class Unauthorised(ApiError):
    """401 with an empty body."""

    def __init__(self, reason: str) -> None:
        super().__init__(401, reason)


class Failure(Exception):
    """Proxmox's `die`: a 500 when it happens in a request, the exit status when it happens in a task."""


class Interrupted(Failure):
    """A task was told to stop."""

    def __init__(self) -> None:
        super().__init__("interrupted by signal")


class Vanished(Exception):
    """A worker ended without a last word: its task gets no exit status, which reads as `unexpected status`."""


def bad_parameters(errors: dict[str, str]) -> ApiError:
    return ApiError(400, "Parameter verification failed.", errors)
