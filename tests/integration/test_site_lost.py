"""A whole site loses its power, first the one that serves before the move, then the one that serves after it.

The tests of this file build on one another and run in the order in which they stand. Each time something is written at
the lost site that never came over, a person gives the site up, users are served where they were not, and the site comes
back: it is let in by nothing, closed by one command, and what it alone has is exported, named and not carried over.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from bascule_lab import faults
from bascule_lab.topology import SITES, Site

from tests.integration.playbooks import Controller
from tests.integration.steps import (
    UPLOADS,
    inside,
    is_active_at,
    is_served_from,
    kill_when,
    next_of,
    query,
    refused_untouched,
    sync_of_the_database_begins,
)

pytestmark = pytest.mark.long
SOURCE, TARGET = SITES
KEPT = "/var/lib/bascule/course_files/kept"


class Loss(NamedTuple):
    """A site that is lost, and the one that is left."""

    lost: Site
    left: Site

    @property
    def mark(self) -> str:
        """What was written at the lost site alone."""
        return f"only-at-{self.lost.name}"


FORWARD, BACK = Loss(SOURCE, TARGET), Loss(TARGET, SOURCE)


def write_what_never_comes_over(loss: Loss) -> None:
    """Cut the link, then write a row and two files, one of them over an older one."""
    faults.cut_link()
    query(loss.lost, f"insert into app.logins values (md5('{loss.mark}')::uuid, 1, now(), '{loss.mark}')")
    inside(f"files-{loss.lost.name}", "sh", "-c", f"echo {loss.mark} > {UPLOADS}/{loss.mark}; sync")


def has(site: Site, mark: str) -> tuple[bool, bool]:
    """Say whether a site has the row and the file."""
    rows = query(site, f"select count(*) from app.logins where client = '{mark}'")
    names = inside(f"files-{site.name}", "ls", UPLOADS).split()
    return rows == "1", mark in names


def loses_power_and_is_given_up(controller: Controller, loss: Loss) -> None:
    """Nobody is served; a person's word opens the other site, and says beforehand what may be lost."""
    write_what_never_comes_over(loss)
    faults.kill_site(loss.lost)
    output = controller.succeed("status").output
    assert "if it is lost for good: docs/runbooks/site_lost.md" in next_of(output), output
    given = ("-e", f"site={loss.lost.title}", "-e", "by=Nadia", "-e", '{"fenced": "power cut at the PDU"}')
    said = controller.succeed("site_lost", *given, confirm=loss.left.title.lower()).output
    for component in ("accounts_db", "course_files", "courses_guest", "login_guest", "board_guest", "entrance"):
        assert f"  {component}: everything written at the other side after 2" in said, said
    is_active_at(controller, loss.left.title)
    is_served_from(loss.left)
    output = controller.succeed("status").output
    assert next_of(output).startswith("none while what was given up is silent"), output


def comes_back_and_is_let_in_by_nothing(controller: Controller, loss: Loss) -> None:
    """Its guards say open, its entrance answers and its name server sends users there: status says so."""
    faults.start_site(loss.lost)
    faults.restore_link()
    output = controller.succeed("status").output
    assert output.count("BACK AFTER IT WAS GIVEN UP") == 6, output
    assert f"STILL SENDS USERS ELSEWHERE: ns-{loss.lost.name}" in output
    assert next_of(output).endswith("ansible-playbook playbooks/site_back.yml"), output
    for phase in ("cutover", "rollback"):
        refused_untouched(controller, phase, "was given up as lost and is back")
    refused = controller.run("sync")
    assert refused.status != 0
    assert "site_back.yml" in refused.output


def is_closed_and_looked_through(controller: Controller, loss: Loss) -> None:
    """One command closes it; what it alone has is exported and named; then it follows as any passive side."""
    controller.succeed("site_back")
    is_active_at(controller, loss.left.title)
    is_served_from(loss.left)
    again = controller.succeed("site_back")
    assert again.changed_components == set(), again.changed_tasks()
    assert next_of(controller.succeed("status").output) == "ansible-playbook playbooks/20_prepare.yml"
    said = controller.succeed("prepare").output
    assert "it alone has 1 rows of courses.app.logins; exported to /var/backups/bascule" in said, said
    assert has(loss.left, loss.mark) == (False, False)


def serves_again(controller: Controller, loss: Loss, phase: str) -> None:
    """The usual move brings users back to the site that was lost, without what never left it; all is proved."""
    controller.succeed(phase)
    is_active_at(controller, loss.lost.title)
    is_served_from(loss.lost)
    assert has(loss.lost, loss.mark) == (False, False)
    kept = inside(f"files-{loss.lost.name}", "sh", "-c", f"find {KEPT} -name {loss.mark}")
    assert kept, "what only the lost site had is kept aside"
    controller.succeed("verify")


def test_the_source_is_lost_before_the_move(first: Controller) -> None:
    first.succeed("audit")
    first.succeed("prepare")
    first.succeed("sync")
    loses_power_and_is_given_up(first, FORWARD)


def test_the_source_is_back(first: Controller) -> None:
    comes_back_and_is_let_in_by_nothing(first, FORWARD)
    is_closed_and_looked_through(first, FORWARD)
    output = first.succeed("status").output
    assert next_of(output).endswith("ansible-playbook playbooks/rollback.yml -e confirm=montpellier"), output


def test_the_source_serves_again(first: Controller) -> None:
    serves_again(first, FORWARD, "rollback")


def test_a_dead_host_stops_a_cutover_before_anybody_is_shut_out(first: Controller) -> None:
    faults.kill("db-tls")
    try:
        refused = first.run("cutover")
        assert refused.status != 0
        assert "the cutover has changed nothing" in refused.output, refused.output[-4000:]
        is_served_from(SOURCE)
    finally:
        faults.start("db-tls")


def test_a_standby_whose_host_has_booted_is_named_with_the_command_that_helps(first: Controller) -> None:
    refused = first.run("cutover")
    assert refused.status != 0
    assert "PostgreSQL of db-tls does not run" in refused.output, refused.output[-4000:]
    assert "playbooks/30_sync.yml --limit accounts_db" in refused.output
    is_served_from(SOURCE)
    first.succeed("sync", "--limit", "accounts_db")


def test_a_host_that_dies_after_the_freeze_leaves_one_command_to_serve_again(first: Controller) -> None:
    kill_when(first, "cutover", sync_of_the_database_begins)
    faults.kill("db-tls")
    try:
        command = "ansible-playbook playbooks/rollback.yml -e confirm=montpellier"
        output = first.succeed("status").output
        assert command in next_of(output), output
        first.succeed("rollback")
        is_served_from(SOURCE)
    finally:
        faults.start("db-tls")
    first.succeed("rollback")
    is_active_at(first, "Montpellier")
    first.succeed("sync")


def test_the_target_is_lost_after_the_move(first: Controller) -> None:
    first.succeed("cutover")
    is_active_at(first, "Toulouse")
    loses_power_and_is_given_up(first, BACK)


def test_the_target_is_back(first: Controller) -> None:
    comes_back_and_is_let_in_by_nothing(first, BACK)
    is_closed_and_looked_through(first, BACK)


def test_the_target_serves_again(first: Controller) -> None:
    first.succeed("sync")
    serves_again(first, BACK, "cutover")
