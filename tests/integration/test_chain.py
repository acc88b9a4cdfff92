"""Forward, back and forward again on the lab, under a client that writes all the time.

Each phase that changes something is run twice; a second pretest and a second verify are in the long set.

The tests of this file build on one another and run in the order in which they stand. Until the first cutover the source
stands still, so that a second run has nothing to do; from then on a client outside writes without a pause.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from bascule_lab import faults, shell
from bascule_lab.topology import SITES
from client.setting import read_setting
from client.watchers import Watchers

from tests.integration import fingerprint
from tests.integration.outside import measured, writes_again
from tests.integration.playbooks import Controller
from tests.integration.steps import (
    COMPONENTS,
    is_active_at,
    kill_when,
    refused_untouched,
    succeed_twice,
    sync_of_the_database_begins,
    touches_nothing,
)

SOURCE, TARGET = SITES
LONG = pytest.mark.long
LEAST_WRITES, LEAST_AT_THE_END = 500, 100


def test_audit_measures_and_changes_nothing(first: Controller) -> None:
    before = fingerprint.lab()
    outcome = first.succeed("audit")
    assert outcome.changed_components == set(), outcome.changed_tasks()
    assert fingerprint.differences(before, fingerprint.lab()) == []
    assert set(outcome.changed) == COMPONENTS


def test_prepare_in_check_mode_touches_nothing(first: Controller) -> None:
    touches_nothing(first, "prepare")


def test_cutover_before_prepare_is_refused(first: Controller) -> None:
    before = fingerprint.lab()
    outcome = first.run("cutover")
    assert outcome.status != 0
    assert "NO-GO" in outcome.output
    assert fingerprint.differences(before, fingerprint.lab()) == []


def test_prepare_twice(first: Controller) -> None:
    succeed_twice(first, "prepare")


def test_sync_twice(first: Controller) -> None:
    succeed_twice(first, "sync")


def test_pretest(first: Controller) -> None:
    first.succeed("pretest")


@LONG
def test_pretest_again_changes_nothing(first: Controller) -> None:
    again = first.succeed("pretest")
    assert again.changed_components == set(), again.changed_tasks()


def test_one_component_can_be_synced_alone(first: Controller) -> None:
    outcome = first.succeed("sync", "--limit", "accounts_db")
    assert set(outcome.changed) == {"accounts_db"}


# One for all, the answer that is a site's name; the same function judges the others.
@pytest.mark.parametrize("answer", [pytest.param("", marks=LONG), "montpellier", pytest.param("yes", marks=LONG)])
def test_cutover_wants_the_name_of_the_target(first: Controller, answer: str) -> None:
    before = fingerprint.lab()
    outcome = first.run("cutover", confirm=answer or "''")
    assert outcome.status != 0
    assert "toulouse" in outcome.output
    assert fingerprint.differences(before, fingerprint.lab()) == []


# The two others: tests/unit/plugins/test_play.py.
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param("bascule_direction=back", marks=LONG),
        pytest.param("bascule_from=db-tls", marks=LONG),
        "source_host=db-tls",
    ],
)
def test_the_direction_cannot_be_set_from_outside(first: Controller, extra: str) -> None:
    before = fingerprint.lab()
    outcome = first.run("sync", "-e", extra)
    assert outcome.status != 0
    assert extra.partition("=")[0] in outcome.output
    assert fingerprint.differences(before, fingerprint.lab()) == []


def test_cutover_in_check_mode_touches_nothing(first: Controller, watchers: Watchers) -> None:
    assert watchers.dead() is None
    touches_nothing(first, "cutover")


def test_forward(first: Controller) -> None:
    first.succeed("cutover")
    is_active_at(first, "Toulouse")
    first.succeed("verify")


def test_cutover_again_changes_nothing(first: Controller) -> None:
    again = first.succeed("cutover")
    assert again.changed_components == set(), again.changed_tasks()


@LONG
def test_rollback_in_check_mode_touches_nothing(first: Controller) -> None:
    touches_nothing(first, "rollback")


def test_a_way_back_that_cannot_come_through_shuts_nobody_out(first: Controller) -> None:
    faults.hide(SOURCE)
    try:
        refused_untouched(first, "rollback", "the rollback has changed nothing")
    finally:
        faults.show(SOURCE)
    is_active_at(first, "Toulouse")


def test_back(first: Controller) -> None:
    first.succeed("rollback")
    is_active_at(first, "Montpellier")
    first.succeed("verify")


@LONG
def test_verify_again_changes_nothing(first: Controller) -> None:
    again = first.succeed("verify")
    assert again.changed_components == set(), again.changed_tasks()


def test_rollback_again_changes_nothing(first: Controller) -> None:
    again = first.succeed("rollback")
    assert again.changed_components == set(), again.changed_tasks()


def test_controller_killed_before_the_switch_and_the_target_out_of_reach(first: Controller, other: Controller) -> None:
    """Everything is frozen, nothing has switched, nobody reaches the target: another controller thaws the source."""
    kill_when(first, "cutover", sync_of_the_database_begins)
    faults.hide(TARGET)
    try:
        output = other.succeed("status").output
        assert "rollback.yml -e confirm=montpellier, which lets users in again" in output, output
        output = other.succeed("rollback").output
        assert "accounts_db is open at db-mtp" in output
        assert "The journal has NO COPY at tls" in output
        refused_untouched(other, "cutover", "the cutover has changed nothing")
    finally:
        faults.show(TARGET)
    # What was held at the target as well is let go of now that it answers.
    other.succeed("rollback")
    is_active_at(other, "Montpellier")


def test_controller_killed_after_the_switch(first: Controller, other: Controller) -> None:
    """The database writes at the target and the rest does not yet: another controller brings all of it back."""
    kill_when(
        first, "cutover", lambda e: e["kind"] == "end" and e["verb"] == "switch" and e["component"] == "accounts_db"
    )
    other.succeed("rollback")
    is_active_at(other, "Montpellier")
    other.succeed("verify")


def test_nothing_is_retired_while_the_source_serves(first: Controller) -> None:
    refused_untouched(first, "decommission", "nothing was removed")


def test_forward_again(first: Controller) -> None:
    first.succeed("cutover")
    is_active_at(first, "Toulouse")
    first.succeed("verify")


def test_every_series_of_what_was_moved_is_heard_of(first: Controller) -> None:
    """Silence, and what cannot be read, would fail it; the limits of the lab are wide."""
    first.succeed("monitor")
    first.succeed("monitor")
    page = max((first.runs / first.run_id / "monitor").glob("monitor-*[0-9].md"))
    assert "OK: all" in page.read_text()
    assert "replication lag" in page.read_text()


def test_nothing_was_lost_and_nobody_wrote_twice(first: Controller, watchers: Watchers, tmp_path: Path) -> None:
    """Every write that the client outside was promised, over all moves, stands at the side that is active now."""
    started = watchers.user.first_acked()
    assert started is not None, "the client outside was never answered"
    writes_again(watchers, LEAST_AT_THE_END)
    watchers.stop()
    figures, said = measured(first, watchers, started, read_setting().target, tmp_path)
    assert figures["lost_writes"] == 0, said
    assert figures["divergent_writes"] == 0, figures
    assert figures["two_writers_seconds"] == 0, figures
    assert figures["acknowledged_writes"] > LEAST_WRITES, figures
    assert figures["probes"] > 0, figures


def test_decommission_twice_and_no_way_back_afterwards(first: Controller) -> None:
    """What is left at the old side goes, what serves goes on, and nothing is shut for a way back that is gone."""
    pair = shell.run(["podman", "exec", "bascule-db-mtp", "age-keygen"])
    recipient = next(word for word in pair.split() if word.startswith("age1"))
    succeed_twice(first, "decommission", "-e", f"postgresql_replication_retire_recipient={recipient}")
    is_active_at(first, "Toulouse")
    refused_untouched(first, "rollback", "there is no way back")
