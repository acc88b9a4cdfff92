"""A dump's text is cut into objects: whatever differs has a name, and nothing of a definition leaves."""

from __future__ import annotations

import pytest

from bascule.postgresql import definitions as subject

HEAD = b"""--
-- PostgreSQL database dump
--

\\restrict TOKEN

-- Dumped from database version 15.1
-- Dumped by pg_dump version 15.1

SET statement_timeout = 0;

"""
END = b"""--
-- PostgreSQL database dump complete
--

\\unrestrict TOKEN

"""
TABLE = b"""--
-- Name: logins; Type: TABLE; Schema: app; Owner: postgres
--

CREATE TABLE app.logins (
    id integer
);


"""
FUNCTION = b"""--
-- Name: f(integer); Type: FUNCTION; Schema: app; Owner: postgres
--

CREATE FUNCTION app.f(integer) RETURNS integer
    LANGUAGE sql
    AS $$ select 1 $$;


"""
STATE = b"SET default_tablespace = '';\n\nSET default_table_access_method = heap;\n\n"
GLOBALS = b"""--
-- PostgreSQL database cluster dump
--

\\restrict TOKEN

--
-- Roles
--

CREATE ROLE "Ro ""x";
ALTER ROLE "Ro ""x" WITH LOGIN PASSWORD 'SCRAM-SHA-256$4096:secret';
CREATE ROLE bob;
ALTER ROLE bob WITH NOLOGIN;
COMMENT ON ROLE bob IS 'one
two';

--
-- Role memberships
--

GRANT bob TO "Ro ""x" GRANTED BY postgres;

\\unrestrict TOKEN

--
-- PostgreSQL database cluster dump complete
--

"""


def dump(*pieces: bytes) -> bytes:
    """Put a dump together."""
    return HEAD + b"".join(pieces) + END


def differing(one: bytes, other: bytes) -> set[tuple[str, str]]:
    """Return what differs."""
    a, b = (
        {(kind, name): value for kind, names in subject.of_database(text).items() for name, value in names.items()}
        for text in (one, other)
    )
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


def test_objects_have_names() -> None:
    found = subject.of_database(dump(FUNCTION, STATE, TABLE))
    assert {kind: set(names) for kind, names in found.items()} == {
        "function": {"app.f(integer)"},
        "table": {"app.logins"},
        "setting": {"of the dump"},
    }


def test_tokens_versions_and_order_are_no_difference() -> None:
    one = dump(STATE, TABLE, FUNCTION)
    assert not differing(one, one.replace(b"TOKEN", b"Other").replace(b"15.1", b"15.18"))
    assert not differing(dump(STATE, TABLE, FUNCTION), dump(FUNCTION, STATE, TABLE))
    assert not differing(dump(FUNCTION, STATE, TABLE, TABLE), dump(FUNCTION, STATE, TABLE, TABLE))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        (b"select 1", b"select 2", ("function", "app.f(integer)")),
        (b"id integer", b"id bigint", ("table", "app.logins")),
        (
            b"FUNCTION; Schema: app; Owner: postgres",
            b"FUNCTION; Schema: app; Owner: bob",
            ("function", "app.f(integer)"),
        ),
        (b"method = heap", b"method = columns", ("table", "app.logins")),
        (b"timeout = 0", b"timeout = 1", ("setting", "of the dump")),
        # A line that only looks as if it set something is part of a body.
        (b"select 1", b"\nSET default_tablespace = x;\n", ("function", "app.f(integer)")),
        (b"select 1", b"\n\\restrict x\n", ("function", "app.f(integer)")),
    ],
)
def test_a_difference_has_the_name_of_its_object(old: bytes, new: bytes, name: tuple[str, str]) -> None:
    one = dump(FUNCTION, STATE, TABLE)
    assert old in one
    assert differing(one, one.replace(old, new)) == {name}


def test_what_has_one_name_is_hashed_together() -> None:
    """A heading does not tell all names apart: none of them hides behind another."""
    twin = TABLE.replace(b"id integer", b"id text")
    assert differing(dump(TABLE, twin), dump(TABLE, TABLE)) == {("table", "app.logins")}
    assert differing(dump(TABLE, twin), dump(TABLE)) == {("table", "app.logins")}
    assert not differing(dump(TABLE, twin), dump(twin, TABLE))


def test_a_text_that_looks_like_a_heading_hides_nothing() -> None:
    fake = b"\n-- Name: logins; Type: TABLE; Schema: app; Owner: postgres\n"
    one = FUNCTION.replace(b"select 1", fake + b"select 1")
    assert differing(dump(one), dump(one.replace(b"select 1", b"select 2")))
    assert differing(dump(one, TABLE), dump(FUNCTION, TABLE))


@pytest.mark.parametrize("parse", [subject.of_database, subject.of_cluster])
@pytest.mark.parametrize("text", [b"", HEAD + TABLE, GLOBALS[:200]])
def test_half_a_dump_is_none(parse: subject.Parse, text: bytes) -> None:
    with pytest.raises(ValueError, match="no end"):
        parse(text)


def test_a_name_of_unknown_bytes_can_be_shown() -> None:
    (name,) = subject.of_database(dump(TABLE.replace(b"logins;", b"t\xe9l\x07;")))["table"]
    assert name == "app.t\\xe9l\\x07"


def test_roles_have_names_and_no_verifier_leaves() -> None:
    found = subject.of_cluster(GLOBALS)
    assert set(found["role"]) == {'"Ro ""x"', "bob"}
    assert set(found["membership in"]) == {"bob"}
    assert "secret" not in str(found)
    digest = subject.digest(found["role"])
    assert subject.masked(digest["lines"], "one") != subject.masked(digest["lines"], "two")
    assert not set(subject.masked(digest["lines"], "one").values()) & set(found["role"].values())


@pytest.mark.parametrize(
    ("old", "new", "kind", "name"),
    [
        (b"4096:secret", b"4096:other", "role", '"Ro ""x"'),
        (b"bob WITH NOLOGIN", b"bob WITH LOGIN", "role", "bob"),
        (b"two'", b"three'", "role", "bob"),
        (b"GRANTED BY postgres", b"WITH ADMIN OPTION GRANTED BY postgres", "membership in", "bob"),
    ],
)
def test_a_role_that_differs_is_named(old: bytes, new: bytes, kind: str, name: str) -> None:
    one, other = (subject.of_cluster(text) for text in (GLOBALS, GLOBALS.replace(old, new).replace(b"TOKEN", b"Other")))
    assert {(k, n) for k in one for n in one[k] if one[k][n] != other[k].get(n)} == {(kind, name)}
