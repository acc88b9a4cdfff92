"""Somebody else's pooler: hosts and ports are changed, and nothing that stands beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.postgresql import pgbouncer_entries as entries
from bascule.postgresql.pgbouncer_entries import Entry

from .test_pgbouncer import pooler_spec

SPEC = pooler_spec(pooler="existing", pooler_include="/etc/pgbouncer/d.ini", pooler_host="", pooler_peer_host="")
TEXT = """; the courses
courses = host=198.18.1.10 port=5432 pool_size=40 auth_user=pgb
"courses batch" = host=198.18.1.10 dbname=courses pool_size=3 pool_mode=session
other = dbname='host=x' host='198.18.1.10'
\tspaced  =  port = 5432   host = 198.18.1.10 connect_query='set host = ''198.18.1.10'''
else = host=198.18.7.1 port=5432
neighbour = host=198.18.1.10 port=6000
#old = host=198.18.1.10
"""


def test_only_hosts_and_ports_change() -> None:
    moved = entries.pointed(TEXT, SPEC, "db-tls")
    assert (
        moved
        == """; the courses
courses = host=198.18.2.10 port=5432 pool_size=40 auth_user=pgb
"courses batch" = host=198.18.2.10 dbname=courses pool_size=3 pool_mode=session
other = dbname='host=x' host=198.18.2.10
\tspaced  =  port = 5432   host = 198.18.2.10 connect_query='set host = ''198.18.1.10'''
else = host=198.18.7.1 port=5432
neighbour = host=198.18.1.10 port=6000
#old = host=198.18.1.10
"""
    )
    assert entries.pointed(TEXT, SPEC, "db-mtp") == TEXT
    assert entries.pointed(moved, SPEC, "db-mtp") == TEXT.replace("'198.18.1.10'\n\t", "198.18.1.10\n\t")


def test_another_port_comes_and_goes_with_the_side() -> None:
    spec = pooler_spec(pooler="existing", peer_port=5433, pooler_host="", pooler_peer_host="")
    moved = entries.pointed("a = host=198.18.1.10 pool_size=1\nb = port=5432 host=198.18.1.10", spec, "db-tls")
    assert moved == "a = host=198.18.2.10 port=5433 pool_size=1\nb = port=5433 host=198.18.2.10"
    back = entries.pointed(moved, spec, "db-mtp")
    assert back == "a = host=198.18.1.10 port=5432 pool_size=1\nb = port=5432 host=198.18.1.10"


def test_whoever_goes_to_either_side_is_served() -> None:
    """An alias and an undeclared database are held and moved like the declared ones."""
    assert entries.served(SPEC, TEXT) == ["courses", "courses batch", "other", "spaced"]


@given(st.text(max_size=200))
def test_a_text_that_names_no_side_stays_as_it_is(text: str) -> None:
    assert entries.pointed(text, SPEC, "db-tls") == text


@pytest.mark.parametrize(
    ("text", "beside", "said"),
    [
        ("courses = host=198.18.1.10\n", "", ""),
        ("courses = host=198.18.1.10\n", "far = host=198.18.7.1\n", ""),
        ("courses = host=198.18.1.10\n", "neighbour = host=198.18.1.10 port=6000\n", ""),
        ("", "", "courses has no entry"),
        ("courses = host=198.18.7.1\n", "", "courses has no entry"),
        ("courses = host=198.18.1.10\n* = host=198.18.1.10\n", "", "* points to 198.18.1.10: no pause holds"),
        ("courses = host=198.18.1.10\n", "* = host=198.18.1.10\n", "* points to 198.18.1.10: no pause holds"),
        (
            "courses = host=198.18.1.10\n",
            "batch = host=198.18.2.10 dbname=courses\n",
            "batch points to 198.18.2.10 and",
        ),
        ("courses = host=198.18.1.10\n", "* = \n", "* goes to this host's own server"),
        ("courses = host=198.18.1.10\nb = dbname=courses\n", "", "b goes to this host's own server"),
        ("courses = host=198.18.1.10\nb = host=/run/postgresql\n", "", "b goes to this host's own server"),
        ("courses = host=198.18.1.10\nb = host=db1\n", "", "b points to db1, a list or a name"),
        ("courses = host=198.18.1.10\nb = host=x,198.18.1.10\n", "", "b points to x,198.18.1.10, a list"),
    ],
)
def test_what_a_switch_could_not_move_is_named(text: str, beside: str, said: str) -> None:
    found = entries.problems(SPEC, text, beside, lambda host: host == "db1")
    assert len(found) == bool(said)
    assert said in "".join(found)


def test_sections_and_includes() -> None:
    main = "[databases]\n%include /a.ini\nx = host=h port=1\n[pgbouncer]\nlisten_port = 6432\n[Databases]\ny = host=i\n"
    assert entries.included(entries.section(main)) == ["/a.ini"]
    assert entries.entries(entries.section(main)) == [Entry("x", "h", 1), Entry("y", "i", 5432)]
