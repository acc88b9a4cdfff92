"""Compare the passive side with the active one, from the passive side's host, while clients write.

Range by range of _id, both sides are read at one cluster time, which the passive side waits for; a capped collection
before, here and after (`_capped`). No lock is taken, and no more than one range is held in memory.
Descriptions (options, indexes) are read anew until they agree, or time is up:
the passive side may not have them yet.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from .. import compare
from ..refusals import MongoError
from .client import Client, raw, raw_options, text
from .server import Server

# Not carried, or of each member itself: config has sessions and what retries need.
NOT_CARRIED = ("config", "local")
# A range is that many documents, or bytes, whichever comes first.
DOCUMENTS, BYTES = 10000, 32 << 20
_NAMED = 5


class _Reader:
    """One side's documents, over a connection that stays."""

    def __init__(self, connection: Any, *, shown: bool) -> None:
        self._connection, self._shown = connection, shown

    def time(self) -> Any:
        """Return a cluster time at which the majority has what it has, to read both sides at."""
        return self._connection.admin.command({"replSetGetStatus": 1})["optimes"]["lastCommittedOpTime"]["ts"]

    def optime(self) -> str:
        """Return the last operation that it has."""
        last = self._connection.admin.command({"replSetGetStatus": 1})["optimes"]["appliedOpTime"]
        return f"{last['t']}:{last['ts'].time}:{last['ts'].inc}"

    def documents(
        self, database: str, collection: str, at: Any, first: bytes, beyond: bytes | None, wait: float
    ) -> Generator[bytes, None, None]:
        """Yield the documents of a range in the order of _id, as bytes.

        Args:
            database: of the collection.
            collection: its name.
            at: the cluster time; None reads what is there now.
            first: the _id to begin with; empty for the beginning.
            beyond: the _id before which to end; empty for the end, None for the end of what one range may have.
            wait: seconds in which this side has to reach the cluster time.
        """
        command: dict[str, Any] = {
            "find": collection, "hint": {"_id": 1}, "batchSize": DOCUMENTS + 1, "maxTimeMS": int(wait * 1000),
        }  # fmt: skip
        if at is not None:
            command["readConcern"] = {"level": "snapshot", "atClusterTime": at}
        if first:
            command["min"] = raw(compare.bound(first))
        if beyond:
            command["max"] = raw(compare.bound(beyond))
        if beyond is None:
            command["limit"] = DOCUMENTS + 1
        options = raw_options()
        # All commands of a cursor are of one session; the driver has none for a hidden member, which needs none.
        with self._connection.start_session(causal_consistency=False) if self._shown else nullcontext() as session:
            place = self._connection[database]
            answer = place.command(command, codec_options=options, session=session)
            number, batch = answer["cursor"]["id"], answer["cursor"]["firstBatch"]
            try:
                while True:
                    for one in batch:
                        yield bytes(one.raw)
                    if not number:
                        return
                    more = {"getMore": number, "collection": collection, "batchSize": DOCUMENTS + 1}
                    answer = place.command(more, codec_options=options, session=session)
                    number, batch = answer["cursor"]["id"], answer["cursor"]["nextBatch"]
            finally:
                if number:
                    place.command({"killCursors": collection, "cursors": [number]}, session=session)

    def described(self) -> dict[str, str]:
        """Return options and indexes of each collection, by DATABASE.COLLECTION, as texts."""
        found = {}
        names = self._connection.admin.command({"listDatabases": 1, "nameOnly": True})["databases"]
        for database in sorted(one["name"] for one in names if one["name"] not in NOT_CARRIED):
            place = self._connection[database]
            for one in place.list_collections():
                name, kind = str(one["name"]), str(one.get("type", "collection"))
                # What a server profiles is its own.
                if name == "system.profile":
                    continue
                indexes = [] if kind != "collection" else [dict(index) for index in place[name].list_indexes()]
                for index in indexes:
                    index.pop("ns", None)
                indexes.sort(key=lambda index: str(index["name"]))
                found[f"{database}.{name}"] = text([kind, one.get("options", {}), indexes])
        return found


def run(replica: Server, primary: Client, wait: float = 60.0) -> dict[str, Any]:
    """Compare; return position, collections, documents and what differs.

    Args:
        replica: the passive side.
        primary: the active side, from the passive side's host.
        wait: seconds in which the passive side has to reach what is compared.
    """
    with primary.connected(compressors="zlib") as there, replica.client.connected() as here:
        active, passive = _Reader(there, shown=True), _Reader(here, shown=False)
        collections, differences = _descriptions(active, passive, wait)
        documents = different = 0
        with ThreadPoolExecutor(max_workers=2) as pool:
            for full, capped in collections.items():
                if capped:
                    count, wrong = _capped(active, passive, full, wait, replica)
                else:
                    count, wrong = _collection(active, passive, full, wait, pool)
                documents += count
                if wrong:
                    different += 1
                    names = ", ".join(compare.named(one) for one in wrong[:_NAMED])
                    differences.append(f"{full} differs in {len(wrong)} documents, first of all {names}")
        return {
            "position": replica.optime(),
            "collections_compared": len(collections),
            "documents_compared": documents,
            "collections_different": different,
            "differences": differences,
        }


def _descriptions(active: _Reader, passive: _Reader, wait: float) -> tuple[dict[str, bool], list[str]]:
    """Return the collections that have documents of their own (capped or not), and whose descriptions differ."""
    until = time.monotonic() + wait
    while True:
        there, here = active.described(), passive.described()
        wrong = compare.descriptions(there, here)
        if not wrong or time.monotonic() > until:
            # A view, or a series by time, has its documents in a collection that is listed by itself.
            own = {name for name in there if name in here and there[name].startswith('["collection"')}
            return {name: compare.capped(there[name]) for name in sorted(own)}, wrong
        time.sleep(0.2)


def _collection(
    active: _Reader, passive: _Reader, full: str, wait: float, pool: ThreadPoolExecutor
) -> tuple[int, list[bytes]]:
    """Return how many documents were compared, and the _ids of those that differ."""
    database, _, name = full.partition(".")
    first, count, wrong = b"", 0, []
    while True:
        at = active.time()
        with contextlib.closing(active.documents(database, name, at, first, None, wait)) as documents:
            taken, beyond = _range(documents)
        there = pool.submit(compare.hashed, taken)
        here = compare.hashed(passive.documents(database, name, at, first, beyond, wait))
        count += len(taken)
        wrong += compare.different(there.result(), here)
        if not beyond:
            return count, wrong
        first = beyond


def _capped(active: _Reader, passive: _Reader, full: str, wait: float, replica: Server) -> tuple[int, list[bytes]]:
    """Compare a capped collection, which no server reads at a moment: the active side before and after the passive one.

    A range of which documents changed meanwhile is read again, until time is up.
    """
    database, _, name = full.partition(".")
    first, count, wrong = b"", 0, []
    until = time.monotonic() + wait
    while True:
        with contextlib.closing(active.documents(database, name, None, first, None, wait)) as documents:
            taken, beyond = _range(documents)
        fault = replica.wait_for(active.optime(), wait)
        if fault:
            raise MongoError(expected="the passive side to reach what is compared", found=fault)
        here = compare.hashed(passive.documents(database, name, None, first, beyond, wait))
        after = compare.hashed(active.documents(database, name, None, first, beyond, wait))
        found = compare.unsettled(compare.hashed(taken), here, after)
        if found and time.monotonic() < until:
            time.sleep(0.2)
            continue
        count += len(taken)
        wrong += found
        if not beyond:
            return count, wrong
        first = beyond


def _range(documents: Iterator[bytes]) -> tuple[list[bytes], bytes]:
    """Return the documents of one range, and the _id that the next one begins with; nothing after the last."""
    taken: list[bytes] = []
    size = 0
    for one in documents:
        if len(taken) >= DOCUMENTS or size > BYTES:
            identity = compare.identity(one)
            if not identity:
                raise MongoError(expected="an _id in front of each document", found="another field, or another type")
            return taken, identity
        taken.append(one)
        size += len(one)
    return taken, b""
