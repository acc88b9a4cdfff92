"""What can go wrong in the lab, said so that a person can act on it."""

from __future__ import annotations


class LabError(Exception):
    """Something the lab expected was not so. `hint` is the next command to try."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
