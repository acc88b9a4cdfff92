"""A site of one's own: Debian 13 with PostgreSQL 17, sudo with a password, through a bastion; there and back.

The tests build on one another and run in the order in which they stand. From the cutover on a client outside writes
rows and files; at the end all that it was promised is looked up.
"""

from __future__ import annotations

import pytest

from tests.sites.site import SERVERS, USER, Operator, Site

pytestmark = pytest.mark.long
NANTES, RENNES = SERVERS
LEAST_WRITES = 100


def test_only_the_bastion_leads_in(site: Site) -> None:
    for name in SERVERS:
        release = site.ssh(name, "cat /etc/debian_version; id -un")
        assert release.out.split()[0].startswith("13"), release
        assert release.out.split()[1] == USER
        assert site.ssh("-oProxyJump=none", name, "true").code == 255
        assert site.ssh("-oUser=root", name, "true").code == 255
        asked = site.ssh(name, "sudo -n true")
        assert asked.code != 0
        assert "password" in asked.err
    assert site.sql(NANTES, "show server_version_num").startswith("17")


def test_audit_changes_nothing(operator: Operator) -> None:
    outcome = operator.succeed("audit")
    assert outcome.changed_components == set(), outcome.changed_tasks()
    assert set(outcome.changed) == {"accounts_db", "course_files"}


def test_prepare(operator: Operator) -> None:
    operator.succeed("prepare")
    again = operator.succeed("prepare")
    assert again.changed_components == set(), again.changed_tasks()


def test_sync_and_pretest(operator: Operator) -> None:
    operator.succeed("sync")
    operator.succeed("pretest")


def test_forward_and_back_under_writes(site: Site, operator: Operator) -> None:
    site.start_writing()
    operator.succeed("cutover", confirm="rennes")
    assert site.sql(RENNES, "select pg_is_in_recovery()") == "f"
    operator.succeed("verify")
    operator.succeed("rollback", confirm="nantes")
    assert site.sql(NANTES, "select pg_is_in_recovery()") == "f"
    operator.succeed("verify")
    site.stop_writing()


def test_nothing_was_lost(site: Site) -> None:
    rows = site.acknowledged("rows")
    kept = set(site.sql(NANTES, "select id from app.progress").split())
    assert len(rows) >= LEAST_WRITES
    assert [name for name in rows if name not in kept] == []
    files = site.acknowledged("files")
    # The content of each is its name.
    found = set(site.run(NANTES, "sh", "-c", "cd /srv/courses/uploads && grep -H '' -- *-*-*-*-*.txt").split())
    assert len(files) >= LEAST_WRITES
    assert [name for name in files if f"{name}.txt:{name}" not in found] == []


def test_the_copies_of_the_journal_are_read_by_the_same_way_in(operator: Operator) -> None:
    outcome = operator.bascule("report", "--verify")
    assert outcome.status == 0, outcome.output
