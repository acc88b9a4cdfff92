"""What a comparison of two real servers sees, and what it must not mistake for a difference."""

from __future__ import annotations

import threading
import time
from typing import Any

import bson
import pytest
from bson import raw_bson

from bascule.mongodb.io import comparison

from .test_moves import stuck
from .world import Host, World

# Each document of the passive side is another one in what its text says, and in nothing else.
KINDS: dict[str, tuple[Any, Any]] = {
    "a digit": ({"v": 1.1}, {"v": 1.1000001}),
    "the type of a number": ({"v": 1}, {"v": bson.Int64(1)}),
    "a number and the same as a double": ({"v": 1}, {"v": 1.0}),
    "the order of fields": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "null and no field": ({"v": None}, {}),
    "the border between fields": ({"a": "ab", "b": "c"}, {"a": "a", "b": "bc"}),
    "the kind of bytes": ({"v": bson.Binary(b"1", 0)}, {"v": bson.Binary(b"1", 128)}),
    "a long value": ({"v": "z" * 200000}, {"v": "z" * 199999 + "y"}),
    "an element within": ({"v": {"w": [1, {"x": 1}]}}, {"v": {"w": [1, {"x": 2}]}}),
}


def put(host: Host, documents: list[dict[str, Any]], collection: str = "kinds") -> None:
    """Write documents in the order of their fields."""
    raw = [raw_bson.RawBSONDocument(bson.encode(one)) for one in documents]
    assert "writeErrors" not in host.running.run({"insert": collection, "documents": raw}, "shop")


@pytest.fixture
def following(world: World) -> World:
    """Two hosts of which the second follows the first, with a document of each kind."""
    mtp = world.mtp
    put(mtp, [{"_id": number, **there} for number, (there, _) in enumerate(KINDS.values())])
    put(mtp, [{"_id": number} for number in range(3)], "busy")
    mtp.running.run({"createIndexes": "busy", "indexes": [{"key": {"v": 1}, "name": "v_1"}]}, "shop")
    mtp.running.run({"create": "capped", "capped": True, "size": 4096}, "shop")
    mtp.running.run({"create": "view1", "viewOn": "kinds", "pipeline": []}, "shop")
    mtp.running.run({"create": "byday", "timeseries": {"timeField": "at"}}, "shop")
    world.prepare()
    return world


def test_every_change_is_seen_and_nothing_else(following: World) -> None:
    tls = following.tls
    found = tls.side().compare(20)
    assert found["differences"] == []
    assert found["documents_compared"] >= len(KINDS) + 6
    # A member takes no write: its files are opened by a server of no set.
    tls.running.end()
    tls.running.start(of_a_set=False, writable=True)
    tls.running.run({"delete": "kinds", "deletes": [{"q": {}, "limit": 0}]}, "shop")
    put(tls, [{"_id": number, **here} for number, (_, here) in enumerate(KINDS.values())])
    tls.running.run({"delete": "t", "deletes": [{"q": {"_id": 2}, "limit": 1}]}, "shop")
    tls.running.run({"dropIndexes": "busy", "index": "v_1"}, "shop")
    tls.running.run({"createIndexes": "busy", "indexes": [{"key": {"v": 1}, "name": "v_1", "sparse": True}]}, "shop")
    tls.running.run({"collMod": "capped", "cappedSize": 8192}, "shop")
    tls.running.run({"collMod": "view1", "viewOn": "busy", "pipeline": []}, "shop")
    tls.running.run({"create": "more"}, "shop")
    tls.running.run({"updateUser": "app", "pwd": "another"})
    tls.running.end()
    tls.running.start()
    tls.side().server.wait_until_filled(20)
    tls.side().caught_up(following.mtp.side().server.optime(), 30, exactly=False)
    found = tls.side().compare(4)
    assert sorted(found["differences"]) == [
        found_user(found),
        "options or indexes of shop.busy differ",
        "options or indexes of shop.capped differ",
        "options or indexes of shop.view1 differ",
        f"shop.kinds differs in {len(KINDS)} documents, first of all 0, 1, 2, 3, 4",
        "shop.more is at one side only",
        "shop.system.views differs in 1 documents, first of all " + found_view(found),
        "shop.t differs in 1 documents, first of all 2",
    ]
    assert found["collections_different"] == 4


def found_user(found: dict[str, Any]) -> str:
    """Return the difference of the user, whose name is not said."""
    said = [one for one in found["differences"] if one.startswith("admin.system.users differs in 1 documents")]
    assert len(said) == 1
    assert "app" not in said[0].partition("first of all")[2]
    return str(said[0])


def found_view(found: dict[str, Any]) -> str:
    """Return how the view is named."""
    said = [one for one in found["differences"] if one.startswith("shop.system.views")]
    return str(said[0].partition("first of all ")[2])


@pytest.mark.long
def test_a_client_that_writes_meanwhile_makes_no_difference(following: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mtp, tls = following.mtp, following.tls
    # So that there are many ranges, whose borders lie in documents that come and go.
    monkeypatch.setattr(comparison, "DOCUMENTS", 50)
    put(mtp, [{"_id": number} for number in range(10, 400)], "busy")
    stop = threading.Event()

    def write() -> None:
        number = 400
        while not stop.is_set():
            put(mtp, [{"_id": one, "v": one} for one in range(number, number + 5)], "busy")
            update = {"q": {"_id": {"$lt": 300}}, "u": {"$inc": {"w": 1}}, "multi": True}
            mtp.running.run({"update": "busy", "updates": [update]}, "shop")
            mtp.running.run({"delete": "busy", "deletes": [{"q": {"_id": number - 390}, "limit": 1}]}, "shop")
            number += 5

    writer = threading.Thread(target=write)
    writer.start()
    try:
        found = [tls.side().compare(20) for _ in range(2)]
    finally:
        stop.set()
        writer.join()
    assert [one["differences"] for one in found] == [[], []]
    assert found[1]["documents_compared"] > len(KINDS) + 390


@pytest.mark.long
def test_a_side_that_cannot_follow_is_not_compared(following: World) -> None:
    mtp, tls = following.mtp, following.tls
    stuck(tls, True)
    put(mtp, [{"_id": 99}], "busy")
    began = time.monotonic()
    with pytest.raises(Exception, match="time limit"):
        tls.side().compare(1)
    assert time.monotonic() - began >= 1
