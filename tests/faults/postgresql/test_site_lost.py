"""A host of a database is lost for good, the other one opens by a person's word, and the lost one comes back."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair

GIVEN = {"site": "montpellier", "by": "Nadia", "fenced": "power cut at the PDU", "confirm": "toulouse"}


@pytest.mark.long
def test_a_lost_host_is_given_up_comes_back_and_follows(start_pair: StartPair) -> None:
    pair = start_pair("db", "sitelost", variables={"postgresql_replication_safety_dump": False})
    pair.must("prepare")
    pair.sql("source", "create table public.kept (id int); insert into public.kept values (1)")
    pair.must("sync")
    pair.cut()
    pair.sql("source", "insert into public.kept values (2)")
    answers = pair.playbook("site_lost.yml", **GIVEN)
    assert not answers.ok
    assert "answers, it is open" in answers.stdout
    pair.kill("source")

    lost = pair.playbook("site_lost.yml", **GIVEN)
    assert lost.ok, lost.stdout[-6000:]
    assert "its log is replayed up to " in lost.stdout
    assert pair.guard("target")["word"]["by"] == "Nadia"
    assert pair.sql("target", "select string_agg(id::text, ',') from public.kept") == "1"
    pair.sql("target", "insert into public.kept values (3)")

    pair.boot("source")
    pair.restore()
    assert pair.guard("source")["status"] == "open", "nobody has told it"
    status = pair.playbook("status.yml")
    assert "BACK AFTER IT WAS GIVEN UP" in status.stdout
    for refused in (pair.playbook("rollback.yml", confirm="montpellier"), pair.verb("sync"), pair.verb("prepare")):
        assert not refused.ok
        assert "site_back.yml" in refused.stdout
    assert pair.guard("target")["status"] == "open"

    back = pair.playbook("site_back.yml")
    assert back.ok, back.stdout[-6000:]
    assert pair.guard("source")["status"] == "closed"
    named = pair.verb("sync", direction="back")
    assert not named.ok
    assert "1 rows of courses.public.kept" in named.stdout
    pair.must("prepare")
    done = pair.playbook("rollback.yml", confirm="montpellier")
    assert done.ok, done.stdout[-6000:]
    assert pair.sql("source", "select string_agg(id::text, ',' order by id) from public.kept") == "1,3"
    assert [pair.guard(side)["status"] for side in ("source", "target")] == ["open", "closed"]
