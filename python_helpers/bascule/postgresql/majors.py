"""Which major versions of PostgreSQL are moved: run for real, taken where a variable names them, or refused. Pure."""

from __future__ import annotations

TESTED, BY_VARIABLE, REFUSED = "tested", "by variable", "refused"
VARIABLE = "postgresql_replication_untested_major"
# Only what the tests run for real is called tested. 13 and 14 lack what the audit compares by (the provider and the
# version of a database's collation came with 15).
MAJORS = {
    "13": REFUSED,
    "14": REFUSED,
    "15": TESTED,
    "16": BY_VARIABLE,
    "17": TESTED,
    "18": BY_VARIABLE,
}


def finding(major: str, accepted: str) -> str:
    """Return why a major version is not moved, with the list of those that are, or an empty text.

    `accepted` is the one that the plan takes although no test has run it.
    """
    standing = MAJORS.get(major, REFUSED)
    if standing == TESTED or (standing == BY_VARIABLE and accepted == major):
        return ""
    listed = "; ".join(f"{name}: {', '.join(_with(name))}" for name in (TESTED, BY_VARIABLE, REFUSED))
    way_out = f'; to take it untested, set {VARIABLE}: "{major}"' if standing == BY_VARIABLE else ""
    return f"PostgreSQL {major or 'of an unknown version'} is not tested here ({listed}){way_out}"


def table() -> str:
    """Return the list as the README shows it."""
    return "\n".join(["| major | |", "|---|---|", *(f"| {major} | {standing} |" for major, standing in MAJORS.items())])


def _with(standing: str) -> list[str]:
    return [major for major, one in MAJORS.items() if one == standing]
