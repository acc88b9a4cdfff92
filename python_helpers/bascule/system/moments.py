"""The time of this machine as text, in UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone


def now() -> str:
    """Return the time to the millisecond, in ISO 8601."""
    return ago(0)


def ago(seconds: float) -> str:
    """Return the time so many seconds ago, as `now` writes it."""
    return (datetime.now(timezone.utc) - timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def now_in_seconds() -> str:
    """Return the time to the second, as in 2026-11-30T22:00:00Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
