"""Sets of global transaction ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.mysql import gtid
from bascule.mysql.gtid import Gtid
from bascule.mysql.refusals import MysqlError

GTIDS = st.lists(st.builds(Gtid, st.integers(0, 3), st.integers(1, 3), st.integers(1, 50)), max_size=6)


def text(gtids: list[Gtid]) -> str:
    """Return them as a server shows them."""
    return ",".join(map(str, gtids))


def test_a_position_is_the_last_transaction_of_each_domain() -> None:
    assert gtid.merge("0-1-5,1-2-7", "0-2-9", "") == "0-2-9,1-2-7"


@pytest.mark.parametrize("broken", ["0-1", "a-b-c", "0-1-2-3", "0-1-5;0-1-6"])
def test_what_is_no_gtid_is_refused(broken: str) -> None:
    with pytest.raises(MysqlError, match="DOMAIN-SERVER-SEQUENCE"):
        gtid.parse(broken)


def test_two_servers_that_know_nothing_are_not_equal() -> None:
    assert "empty" in gtid.behind("", "")
    assert "empty" in gtid.behind("0-1-5", "")


def test_who_lacks_a_domain_or_the_last_transaction_is_behind() -> None:
    assert gtid.behind("0-1-5", "0-1-5") == ""
    assert gtid.behind("0-2-6", "0-1-5") == ""
    assert "0-1-6 (here 0-1-5)" in gtid.behind("0-1-5", "0-1-6")
    assert "nothing of that domain" in gtid.behind("0-1-5", "0-1-5,3-1-1")


def test_another_transaction_in_its_place_is_not_the_same() -> None:
    assert "another transaction in its place" in gtid.behind("0-2-5", "0-1-5")


def test_what_only_the_replica_has_is_errant() -> None:
    assert gtid.errant("0-1-9,0-2-3", "0-1-9,0-2-3") == []
    assert gtid.errant("0-1-9,0-2-10", "0-1-9") == [Gtid(0, 2, 10)]
    assert gtid.errant("0-1-9,7-2-1", "0-1-12") == [Gtid(7, 2, 1)]
    # The replica is only behind.
    assert gtid.errant("0-1-9", "0-1-12,0-2-13") == []


@given(GTIDS, GTIDS)
def test_who_has_all_that_both_have_is_behind_neither(one: list[Gtid], other: list[Gtid]) -> None:
    both = gtid.merge(text(one), text(other))
    for part in (one, other):
        reached = gtid.position(part)
        # A tie of two servers at one place is a divergence, which only one of them can have won.
        tied = any(
            gtid.position([*one, *other])[d].sequence == g.sequence and gtid.position([*one, *other])[d] != g
            for d, g in reached.items()
        )
        assert bool(gtid.behind(both, text(part))) == (not part or tied)


@given(GTIDS, GTIDS)
def test_nothing_is_errant_exactly_when_the_primary_knows_each_place(replica: list[Gtid], primary: list[Gtid]) -> None:
    beyond = gtid.errant(text(replica), text(primary))
    known = {
        (one.domain, one.server): max(o.sequence for o in primary if (o.domain, o.server) == (one.domain, one.server))
        for one in primary
    }
    assert bool(beyond) == any(one.sequence > known.get((one.domain, one.server), 0) for one in replica)
    assert all(one in replica for one in beyond)
    assert gtid.errant(text(replica), text([*primary, *beyond])) == []


@given(GTIDS)
def test_what_is_read_is_what_was_written(gtids: list[Gtid]) -> None:
    assert gtid.parse(text(gtids)) == gtids
