"""People are told while a window runs, in a real playbook, at sinks on loopback; no sink holds it up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.plugins.conftest import PRIVATE
from tests.unit.plugins.test_play import ELSEWHERE, PLAN, ROOT, VERB, World, have_moved, never_left
from tests.unit.run.test_notice_sender import comes
from tests.unit.run.test_notices import SECRET, answering, serving

PEOPLE = "plan_people: {lead: Lea, dba: Dan}\n"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world before its cutover, where the verbs answer."""
    made = World(tmp_path)
    made.state = ELSEWHERE
    never_left(made, frozen=False)
    yield made
    shutil.rmtree(tmp_path, ignore_errors=True)


def declare(world: World, urls: dict[str, list[str]], more: str = "") -> None:
    """Name who is told."""
    text = PLAN + PEOPLE + f"notice_urls: {json.dumps(urls)}\n" + more
    (world.path / "inventory/group_vars/all/plan.yml").write_text(text)


def kept(world: World) -> list[dict[str, Any]]:
    """Return what the journal of a site says of notices."""
    entries = sorted(world.copy("j-tls"), key=lambda entry: str(entry["time"]))
    return [entry["data"] for entry in entries if entry["data"].get("event") == "notices"]


def titles(posts: list[Any]) -> list[str]:
    """Return the English half of each title."""
    return [one["title"].partition(" / ")[0] for one in posts]


def test_a_cutover_and_its_return_are_told_from_the_first_word_to_the_last(world: World) -> None:
    lead: list[Any] = []
    tester: list[Any] = []
    with serving(answering(200, lead)) as first, serving(answering(200, tester)) as second:
        url = f"json://user:{SECRET}@127.0.0.1:{first}/"
        declare(world, {"lead": [url], "tester": [f"json://127.0.0.1:{second}/"]})
        rc, output = world.move("60_cutover.yml", "--check")
        assert (rc, lead, tester) == (0, [], []), output
        rc, output = world.move("60_cutover.yml")
        assert rc == 0, output
        assert sorted(titles(lead)) == [
            "toy: GO, Montpellier → Toulouse",
            "toy: done, Toulouse is active",
            "toy: maintenance has begun",
            "toy: the active side is being switched to Toulouse",
        ]
        assert len(tester) == 3, "the tester is not told of the switch"
        go = next(one for one in lead if "GO" in one["title"])
        assert "On duty, lead: Lea" in go["message"]
        assert "low, top" in go["message"]
        assert "De service, dba : Dan" in go["message"].replace("\N{NO-BREAK SPACE}", " ")
        have_moved(world)
        lead.clear()
        rc, back = world.roll_back()
        assert rc == 0, back
        assert sorted(titles(lead)) == [
            "toy: maintenance has begun",
            "toy: rollback to Montpellier",
            "toy: rolled back, Montpellier is active",
        ]
    told = kept(world)
    assert [one["failed"] for one in told] == [[], []]
    assert sorted(told[0]["sent"]) == [
        *("begun lead", "begun tester", "done lead", "done tester", "go lead", "go tester", "switching lead")
    ]
    written = [path.read_text(errors="replace") for path in world.path.rglob("*") if path.is_file()]
    assert [text for text in written if SECRET in text and "notice_urls" not in text] == []
    assert SECRET not in output + back


def test_a_failure_is_told_at_once_and_where_it_stopped_at_the_end(world: World) -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as port:
        declare(world, {"lead": [f"json://127.0.0.1:{port}/"]}, "notice_languages: [en]\n")
        rc, output = world.move("60_cutover.yml", "-e", "fail_at=low.switch")
        assert rc == 2, output
    assert sorted(titles(posts))[0] == "toy: FAILED, switch of low"
    (stopped,) = [one for one in posts if "STOPPED" in one["title"]]
    assert "Users wait: low, top" in stopped["message"] or "Users wait: top, low" in stopped["message"]
    assert "bascule status -i inventory" in stopped["message"]
    assert not [title for title in titles(posts) if "done" in title]


def test_dead_and_silent_services_are_named_and_hold_up_nothing(world: World) -> None:
    held = threading.Event()

    class Hangs(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            held.wait()

    posts: list[Any] = []
    with serving(Hangs) as silent, serving(answering(200, posts)) as takes, serving(answering(500, [])) as refuses:
        urls = {"lead": silent, "dba": refuses, "tester": takes}
        declare(world, {role: [f"json://u:{SECRET}@127.0.0.1:{port}/"] for role, port in urls.items()})
        rc, output = world.move("60_cutover.yml")
        held.set()
    assert rc == 0, output
    assert "done" in " ".join(titles(posts))
    (told,) = kept(world)
    assert "done tester" in told["sent"]
    assert "go dba: not told: a service has refused it" in told["failed"]
    assert [one for one in told["failed"] if one.startswith("done lead: not told")]
    assert "Notices: go dba: not told: a service has refused it" in output
    report = next(world.path.glob("runs/latest/report.fr.md")).read_text()
    assert "dba, moment «\N{NO-BREAK SPACE}go\N{NO-BREAK SPACE}»\N{NO-BREAK SPACE}: un service l'a refusé" in report
    ends = [entry["time"] for entry in world.entries if entry["kind"] == "end" and entry["verb"] == "thaw"]
    notices = [entry["time"] for entry in world.entries if entry["data"].get("event") == "notices"]
    assert max(ends) < notices[0], "everybody was in before anything was waited for"
    assert SECRET not in output


def test_a_site_says_it_in_its_own_words_and_who_is_told(world: World) -> None:
    posts: list[Any] = []
    folder = world.path / "inventory/notices"
    folder.mkdir()
    (folder / "rollback.fr.j2").write_text("On rentre à {{ to_site }}\nBonne nuit {{ people.lead }}.\n")
    (folder / "returned.fr.j2").write_text("{{ no_such_fact }}\n")
    with serving(answering(200, posts)) as port:
        more = "notice_languages: [fr]\nnotice_templates: notices\nnotice_roles: {begun: [], go: lead, x: []}\n"
        urls = [f"json://u:{SECRET}@127.0.0.1:1/", "nosuch://x", f"json://127.0.0.1:{port}/"]
        declare(world, {"lead": urls, "boss": urls}, more)
        rc, output = world.move("60_cutover.yml")
        said = " ".join(output.split())
        assert rc == 2
        assert "4 findings" in said, "all at once"
        assert "notices: notice_urls (group_vars/all/plan.yml:9)" in said
        for text in ("boss: no role", "go: no list out of", "x: no moment", "returned.fr.j2: UndefinedError"):
            assert text in said
        declare(world, {"lead": urls[:2]}, more.replace("go: lead, x: []", ""))
        rc, again = world.move("60_cutover.yml")
        said = " ".join(again.split())
        assert "lead: address 2: nosuch is no service that apprise knows" in said
        assert "notice_urls: lead: address 1: 127.0.0.1:1: Connection refused" in said
        assert posts == []
        # A way back is not held up by any of it.
        declare(world, {"lead": urls[2:]}, more.replace("go: lead, x: []", ""))
        rc, back = world.roll_back()
        assert rc == 0, back
    assert {one["title"].replace("\N{NO-BREAK SPACE}", " "): one["message"] for one in posts} == {
        "On rentre à Montpellier": "Bonne nuit Lea.",
        "toy : retour effectué, Montpellier est actif": posts[-1]["message"],
    }
    assert kept(world)[-1]["failed"] == [
        "notice_templates: returned.fr.j2: UndefinedError: 'no_such_fact' is undefined"
    ]
    assert SECRET not in output + again + back


def test_what_cannot_be_read_ends_the_telling_and_not_the_window(world: World) -> None:
    text = PLAN + "notice_urls: {lead: ['{{ vault_of_nobody }}']}\nplan_limits: {write_outage_seconds: 0.001}\n"
    (world.path / "inventory/group_vars/all/plan.yml").write_text(text)
    rc, output = world.roll_back()
    assert rc == 0, output
    said = " ".join(output.split())
    assert said.count("nobody was told: the variables notice_… cannot be read") == 1
    assert said.count("the plan allows 0.001 s (plan_limits): a criterion for rollback") == 1


def test_a_plan_that_was_written_and_a_verification_that_fails_are_told(world: World) -> None:
    posts: list[Any] = []
    world.answer_verbs()
    (world.path / "roles/toy/tasks/audit.yml").write_text(VERB.replace("kind: verify", "kind: audit"))
    with serving(answering(200, posts)) as port:
        declare(world, {"lead": [f"json://127.0.0.1:{port}/"]}, "notice_languages: [en]\n")
        rc, output = world.move("50_plan.yml", "--check")
        assert (rc, posts) == (0, []), output
        rc, output = world.move("50_plan.yml")
        assert rc == 0, output
        rc, output = world.move("70_verify.yml", "-e", "fail_at=low.verify")
        assert rc == 2, output
    announced, failed = posts
    assert announced["title"] == "toy: maintenance planned, Montpellier → Toulouse"
    assert "A plan for the move of low, top to Toulouse was written at " in announced["message"]
    assert failed["title"] == "toy: FAILED, verify of low"
    assert "the reason is in the run's journal\nNo user is known to wait." in failed["message"], "it is not our own"
    assert [one["sent"] for one in kept(world)] == [["announced lead"], ["failed lead"]]


WAITS = """
- name: Wait until somebody has looked
  ansible.builtin.wait_for: {path: "{{ lookup('env', 'BASCULE_TEST_HOSTS') }}/looked", timeout: 600}
  delegate_to: localhost
  vars: {ansible_connection: local}
  when: bascule_verb == 'switch'
"""


# That a process which is killed leaves a last word, and that what is late is sent, tests/unit/run/test_notice_sender.py
# holds without a playbook.
@pytest.mark.long
def test_a_window_that_is_too_long_and_a_controller_that_was_killed_call_people(world: World) -> None:
    posts: list[Any] = []
    world.verb = VERB + WAITS
    world.answer_verbs()
    with serving(answering(200, posts)) as port:
        more = "notice_languages: [en]\nplan_limits: {write_outage_seconds: 0.1}\n"
        declare(world, {"lead": [f"json://127.0.0.1:{port}/"]}, more)
        book = str(ROOT / "playbooks/60_cutover.yml")
        process = subprocess.Popen(
            ["ansible-playbook", "-i", "inventory", book, "-e", "confirm=toulouse"],
            cwd=world.path, env=world.surroundings(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            assert comes(lambda: {"switched", "longer"} <= {word for one in posts for word in one["title"].split()})
            process.kill()
            process.wait()
            assert comes(lambda: any("STOPPED" in one["title"] for one in posts))
        finally:
            # What the killed one has left goes as well.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    overrun = next(one for one in posts if "longer than the plan allows" in one["title"])
    assert "Back to where it came from: bascule rollback -i inventory" in overrun["message"]
    stopped = next(one for one in posts if "STOPPED" in one["title"])
    assert re.search(r"cutover has stopped at \d\d:\d\d:\d\d \S+: the process that ran it has", stopped["message"])
    assert "Users wait: low, top." in stopped["message"]


# On a disk of its own on which nothing fits any more.
FULL = """
import subprocess, sys
from pathlib import Path
from bascule.plugin.telling import Teller
from bascule.run.io.journal import Journal
from bascule.run.io.notice_sender import Sender
journal = Journal(Path(sys.argv[1]), "run", "here", "d")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", sys.argv[1]], check=True)
journal.directory.mkdir()
journal.append("state")
try:
    journal.directory.joinpath("large").write_bytes(b"x" * 100_000)
except OSError as error:
    print(error.strerror)
Journal.current = lambda: journal
teller = Teller(print)
teller._sender, teller._is_wanted = Sender(), True
teller._sender.send("done lead", {"urls": [sys.argv[2]], "title": "t", "body": "x"})
teller._failed = [f"{number} dba: not told: a service has refused it" for number in range(200)]
teller.ended()
"""


def test_a_disk_that_is_full_is_said_and_the_last_word_goes_out(tmp_path: Path) -> None:
    posts: list[Any] = []
    with serving(answering(200, posts)) as port:
        done = subprocess.run(
            [*PRIVATE, sys.executable, "-c", FULL, str(tmp_path), f"json://127.0.0.1:{port}/"],
            capture_output=True, text=True, check=True, timeout=600,
        )  # fmt: skip
    assert [one["title"] for one in posts] == ["t"]
    assert done.stdout.splitlines() == [
        "No space left on device", "Notices: nobody was told: an error, OSError, in ended"
    ]  # fmt: skip
