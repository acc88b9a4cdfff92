"""Comparing two tables by SHA-256 over every row, beside Debian's postgresql-comparator with its own settings."""

from __future__ import annotations

from benchmarks.harness import HIGHER, Benchmark, Measurement, Settings, alternate
from benchmarks.rows_server import ONE, OTHER, ROWS, ROWS_FULL, Server

MEMORY_KIB = 300 * 1024


def peer(database: str) -> str:
    """How pg_comparator calls the table of a database."""
    return f"pgsql://postgres@/{database}/public.rows"


def measure(settings: Settings) -> Measurement:
    """Compare the same two tables, in turn; both sides at once with each program, on the cores of one machine."""
    with Server("rows-strict", ROWS_FULL if settings.full else ROWS) as server:
        # Each side has a host of its own in a migration; here both share one machine.
        workers = max(1, server.cores // 2)
        compare = f"runuser -u postgres -- pg_comparator {peer(ONE)} {peer(OTHER)}"
        memory: list[int] = []
        equal: list[bool] = []
        agreed: list[bool] = []

        def ours() -> float:
            # From the first row to the last at the slower side: the peer compares rows only, and no schema.
            _, found = server.digest([ONE, OTHER], "strict", workers)
            memory.append(max(int(side["kib"]) for side in found))
            equal.append(found[0]["digest"] == found[1]["digest"])
            return max(float(side["seconds"]) for side in found)

        def theirs() -> float:
            seconds = server.clock(f"{compare} >/run/peer")
            agreed.append(not server.run(["cat", "/run/peer"]).strip())
            return seconds

        ours()
        taken = alternate(ours, theirs, settings.rounds)
        changed_id = server.sql("select id from public.rows order by id limit 1", OTHER)
        server.sql(f"update public.rows set percent = percent + 1 where id = '{changed_id}'", OTHER)
        ours()
        changed = equal.pop()
        found = server.run(["bash", "-c", f"cd / && {compare}"], check=False)
        return Measurement(
            taken.times_as_fast,
            {
                "rows": server.rows,
                "sessions_per_side": workers,
                **taken.figures("bascule", "pg_comparator"),
                "memory_mib_per_side": round(max(memory) / 1024, 1),
                "pg_comparator_checksum": "its default, ck: 8 bytes",
            },
            {
                "memory is at most 300 MiB": max(memory) <= MEMORY_KIB,
                "equal tables are equal for both": all(equal) and all(agreed),
                "a changed row is found by both": not changed and changed_id in found,
            },
        )


BENCHMARK = Benchmark(
    name="rows_strict",
    what="comparing two tables, strict mode (times as fast)",
    against="postgresql-comparator on the same two tables",
    limit=5,
    better=HIGHER,
    measure=measure,
)
