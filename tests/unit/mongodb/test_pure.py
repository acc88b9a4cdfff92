"""Members, refusals, decisions, documents as bytes: values in, values out."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import bson
import pytest
from bson import Binary, ObjectId

from bascule.guard.state import GuardState
from bascule.mongodb import compare, decisions, members, refusals

OWN, PEER = "192.0.2.1:27017", "192.0.2.2:27017"
ALONE: dict[str, Any] = {
    "_id": "rs0",
    "version": 3,
    "term": 2,
    "members": [{"_id": 4, "host": OWN, "priority": 1, "votes": 1}],
}
GOOD: dict[str, Any] = {
    "version": "6.0.5", "set": "rs0", "role": "", "engine": "wiredTiger", "key": "/etc/key", "key_given": "/etc/key",
    "tls": "requireTLS", "socket": 0o700, "config": ALONE,
}  # fmt: skip


def voters(config: dict[str, Any]) -> list[str]:
    """Return who may be elected."""
    return [one["host"] for one in config["members"] if one["priority"] > 0 or one["votes"]]


def test_who_joins_has_no_vote_and_nobody_else_changes() -> None:
    found = members.joined(ALONE, PEER)
    assert found["members"][0] == ALONE["members"][0]
    assert found["members"][1] == {"_id": 5, "host": PEER, "hidden": True, "priority": 0, "votes": 0}
    assert (found["version"], "term" in found, voters(found)) == (4, False, [OWN])


def test_a_closed_pair_elects_nobody_and_an_open_one_its_own_side() -> None:
    closed = members.closed(members.joined(ALONE, PEER), version=90)
    assert voters(closed) == [members.NOBODY]
    assert closed["version"] == 91
    assert members.nobody_serves(closed)
    assert not members.electable(closed, OWN)
    # Closing again adds no second placeholder.
    assert [one["host"] for one in members.closed(closed)["members"]] == [OWN, PEER, members.NOBODY]
    opened = members.opened(closed, PEER)
    assert voters(opened) == [PEER]
    assert [one["hidden"] for one in opened["members"]] == [True, False]
    assert not members.nobody_serves(opened)
    assert [one["host"] for one in members.closed(opened, without=OWN)["members"]] == [PEER, members.NOBODY]
    ids = [one["_id"] for one in closed["members"]]
    assert len(set(ids)) == len(ids)


def test_further_members_are_named() -> None:
    config = {**ALONE, "members": [*ALONE["members"], {"_id": 9, "host": "arbiter:1"}]}
    assert members.further(members.joined(config, PEER), OWN, PEER) == ["arbiter:1"]
    # Without a word of its priority a member may be elected.
    assert members.electable(config, "arbiter:1")


def test_positions_are_in_the_order_of_terms_then_times() -> None:
    texts = ["2:11:1", "2:10:2", "", "2:10:1", "1:90:1"]
    assert sorted(texts, key=members.optime) == ["", "1:90:1", "2:10:1", "2:10:2", "2:11:1"]


def test_a_good_side_has_no_fault() -> None:
    assert refusals.side(GOOD, OWN, PEER) == []
    assert refusals.side({**GOOD, "config": {}}, OWN, PEER) == []
    assert refusals.side({**GOOD, "config": members.closed(members.joined(ALONE, PEER))}, OWN, PEER) == []


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"version": "5.0.9"}, "MongoDB 5.0.9"),
        ({"set": ""}, "replSetName"),
        ({"role": "shardsvr"}, "sharded cluster"),
        ({"engine": "inMemory"}, "inMemory"),
        ({"key": ""}, "keyFile is not set"),
        ({"key": "/other"}, "keyFile is /other"),
        ({"tls": "allowTLS"}, "net.tls.mode is allowTLS"),
        ({"tls": ""}, "net.tls.mode is not set"),
        ({"socket": 0o750}, "no UNIX socket of its own account alone"),
        ({"socket": 0}, "no UNIX socket of its own account alone"),
        ({"config": {**ALONE, "members": [{"_id": 0, "host": "localhost:27017"}]}}, "knows localhost:27017"),
        ({"config": {**ALONE, "members": [*ALONE["members"], {"_id": 1, "host": "third:1"}]}}, "third:1 is a further"),
        ({"config": {**ALONE, "settings": {"chainingAllowed": False}}}, "chainingAllowed"),
    ],
)
def test_what_cannot_be_moved_is_refused_by_name(more: dict[str, Any], words: str) -> None:
    found = [one for one in refusals.side({**GOOD, **more}, OWN, PEER) if words in one]
    assert len(found) == 1


def test_what_must_be_equal() -> None:
    def of(number: str) -> dict[str, Any]:
        return {**GOOD, "config": {**ALONE, "settings": {"replicaSetId": number}}}

    assert refusals.pair(GOOD, {**GOOD, "config": {}, "version": "6.0.9"}) == []
    assert refusals.pair(of("a"), of("a")) == []
    assert [one.split()[0] for one in refusals.pair(GOOD, {**GOOD, "set": "x", "version": "7.0.1"})] == [
        "replication.replSetName:",
        "version:",
    ]
    assert refusals.pair(of("a"), of("b"))[0].startswith("both sides are replica sets of their own")


def test_open_and_closed_are_seen_whole_or_not_at_all() -> None:
    assert decisions.mode("PRIMARY", True, False, ["the table"]) == decisions.OPEN
    assert decisions.mode("PRIMARY", True, True, []) == decisions.BETWEEN
    assert decisions.mode("SECONDARY", False, True, []) == decisions.CLOSED
    assert decisions.mode("SECONDARY", False, True, ["the table"]) == decisions.BETWEEN
    assert decisions.mode("SECONDARY", True, True, []) == decisions.BETWEEN


def test_who_opens_has_all_and_nothing_else() -> None:
    receipt = {"optime": "2:10:5"}
    assert decisions.not_reached("2:10:5", receipt, leads=False) == ""
    assert "not applied here: 2:10:5" in decisions.not_reached("2:10:4", receipt, leads=True)
    assert "stands at nothing" in decisions.not_reached("", receipt, leads=False)
    assert "never had" in decisions.not_reached("3:10:1", receipt, leads=False)
    assert decisions.not_reached("3:10:1", receipt, leads=True) == ""


def test_both_guards_say_who_serves() -> None:
    opened, closed = GuardState("c", "mtp", status="open"), GuardState("c", "tls", status="closed")
    good = {"mtp": "open", "tls": "closed"}
    assert decisions.service_faults({"mtp": opened, "tls": closed}, good) == []
    assert "is between" in decisions.service_faults({"mtp": opened, "tls": closed}, {**good, "tls": "between"})[0]
    both = GuardState("c", "tls", status="open")
    assert decisions.service_faults({"mtp": opened, "tls": both}, {"mtp": "open", "tls": "open"}) == [
        "the guards of both sides say the same"
    ]
    assert decisions.interrupted({"mtp": closed, "tls": closed}, {"mtp": "closed", "tls": "closed"})
    assert not decisions.interrupted({"mtp": opened, "tls": closed}, good)


def test_a_lag_is_known_only_beside_a_primary() -> None:
    def status(there: str) -> dict[str, Any]:
        moment = [datetime(2026, 1, 1, 12, 0, second, tzinfo=timezone.utc) for second in (4, 9)]
        rows = [
            {"name": OWN, "stateStr": "SECONDARY", "optimeDate": moment[0]},
            {"name": PEER, "stateStr": there, "optimeDate": moment[1], "lastHeartbeatMessage": ""},
        ]
        return {"members": rows}

    assert decisions.lag(status("PRIMARY"), OWN, PEER) == 5
    assert decisions.lag(status("DOWN"), OWN, PEER) is None
    assert decisions.lag({}, OWN, PEER) is None
    assert decisions.link(status("PRIMARY"), "tls", OWN, PEER) == ("", "tls follows, 5 s behind")
    assert decisions.link(status("DOWN"), "tls", OWN, PEER)[0].endswith("is seen as DOWN")
    assert "no member of one set" in decisions.link({}, "tls", OWN, PEER)[0]


IDS = [
    1, 2**40, 1.5, "text", "", ObjectId(), True, None, datetime(2026, 1, 1), b"\x00\x01", {"a": 1, "b": [2]},
    Binary(b"0123456789abcdef", 4), bson.Decimal128("1.5"), bson.Timestamp(1, 2), bson.MinKey(), bson.MaxKey(),
]  # fmt: skip


@pytest.mark.parametrize("one", IDS, ids=lambda one: type(one).__name__)
def test_an_id_of_any_type_is_found_and_put_together_again(one: Any) -> None:
    document = bson.encode({"_id": one, "v": 1})
    identity = compare.identity(document)
    assert identity
    assert compare.bound(identity) == bson.encode({"_id": one})


def test_a_document_without_an_id_stands_under_its_hash() -> None:
    document = bson.encode({"v": 1})
    assert compare.identity(document) == b""
    assert len(compare.hashed([document, bson.encode({"v": 2})])) == 2


def test_each_byte_of_a_document_counts() -> None:
    base = compare.hashed([bson.encode({"_id": 1, "a": 1, "b": 2}), bson.encode({"_id": 2})])
    for other in ({"_id": 1, "b": 2, "a": 1}, {"_id": 1, "a": 1.0, "b": 2}, {"_id": 1, "a": bson.Int64(1), "b": 2}):
        changed = compare.hashed([bson.encode(other), bson.encode({"_id": 2})])
        found = compare.different(base, changed)
        assert [compare.named(one) for one in found] == ["1"]
    missing = compare.hashed([bson.encode({"_id": 2})])
    assert [compare.named(one) for one in compare.different(missing, base)] == ["1"]
    assert compare.different(base, dict(base)) == []


def test_a_document_that_the_active_side_had_before_or_after_is_no_difference() -> None:
    before, after = {b"a": b"1", b"b": b"1", b"gone": b"1"}, {b"a": b"1", b"b": b"2", b"new": b"1"}
    for here in ({**before}, {**after}, {b"a": b"1", b"b": b"2"}):
        assert compare.unsettled(before, here, after) == []
    assert compare.unsettled(before, {b"b": b"1"}, after) == [b"a"]
    assert compare.unsettled(before, {b"a": b"2", b"b": b"1", b"ghost": b"1"}, after) == [b"a", b"ghost"]


def test_no_message_shows_an_id_that_may_be_a_person() -> None:
    number = ObjectId()
    assert compare.named(compare.identity(bson.encode({"_id": number}))) == str(number)
    assert compare.named(compare.identity(bson.encode({"_id": -7}))) == "-7"
    said = compare.named(compare.identity(bson.encode({"_id": "ana@example.org"})))
    assert said.startswith("sha256:")
    assert len(said) == len("sha256:") + 16


def test_collections_that_differ_are_named() -> None:
    assert compare.descriptions({"a.x": "1", "a.y": "1"}, {"a.x": "2", "a.z": "1"}) == [
        "options or indexes of a.x differ",
        "a.y is at one side only",
        "a.z is at one side only",
    ]
