"""Digesting a table's rows by their binary form, beside the least a server can do to read them all: COPY."""

from __future__ import annotations

import time

from benchmarks.harness import LOWER, Benchmark, Measurement, Settings, alternate
from benchmarks.rows_server import ONE, OTHER, ROWS, ROWS_FULL, Server

MEMORY_KIB = 300 * 1024


def copies(blocks: int, workers: int) -> str:
    """A script with as many sessions as there are workers, each of which writes its share of the table into nothing."""
    bounds = [blocks * number // workers for number in range(workers)] + [blocks + 1]
    shares = [
        f"copy (select * from public.rows where ctid >= '({low},0)' and ctid < '({high},0)') to '/dev/null'"
        for low, high in zip(bounds, bounds[1:])
    ]
    started = [f'runuser -u postgres -- psql -Xqd {ONE} -c "{share}" & p{n}=$!' for n, share in enumerate(shares)]
    return "\n".join([*started, *(f"wait $p{number}" for number in range(workers))])


def measure(settings: Settings) -> Measurement:
    """Digest and copy the same table with the same number of sessions, in turn."""
    with Server("rows-fast", ROWS_FULL if settings.full else ROWS) as server:
        workers = server.cores
        blocks = int(server.sql("select pg_relation_size('public.rows') / current_setting('block_size')::int", ONE))
        script = copies(blocks, workers)
        memory: list[int] = []
        digests: set[str] = set()

        def ours() -> float:
            _, (found,) = server.digest([ONE], "fast", workers)
            memory.append(int(found["kib"]))
            digests.add(str(found["digest"]))
            return float(found["seconds"])

        def theirs() -> float:
            return server.clock(script)

        ours(), theirs()
        begun = time.monotonic()
        taken = alternate(ours, theirs, settings.rounds)
        _, (other,) = server.digest([OTHER], "fast", workers)
        server.sql("update public.rows set percent = percent + 1 where ctid = '(0,1)'", OTHER)
        _, (changed,) = server.digest([OTHER], "fast", workers)
        return Measurement(
            taken.ratio,
            {
                "rows": server.rows,
                "sessions": workers,
                **taken.figures("digest", "copy"),
                "rows_per_second": round(server.rows / taken.our_median),
                "memory_mib": round(max(memory) / 1024, 1),
                "measured_for_seconds": round(time.monotonic() - begun, 1),
            },
            {
                "memory is at most 300 MiB": max(memory) <= MEMORY_KIB,
                "a copy has the same digest, every time": digests == {str(other["digest"])},
                "a changed row has another digest": str(changed["digest"]) not in digests,
            },
        )


BENCHMARK = Benchmark(
    name="rows_fast",
    what="digesting every row of a table, fast mode",
    against="COPY … TO '/dev/null' of the same table, same sessions",
    limit=1.5,
    better=LOWER,
    measure=measure,
)
