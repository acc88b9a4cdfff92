"""A hosted zone through octoDNS: the action as the role calls it, asked of a PowerDNS and its HTTP API."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import octodns_powerdns
import pytest
from octodns.record import Delete

from bascule.dns import planner
from bascule.dns.io import servers as io_dns
from bascule.dns.planner import DnsRefused
from bascule.dns.records import ServerView, serial_moved
from bascule.errors import BasculeError
from bascule.run.io import identity

from . import real
from .real import API_KEY, Running
from .test_action import act
from .test_real import DECLARED, PATIENCE, RECORDS, ZONE

BACK = {"from": "ns-b", "to": "ns-a"}
# What the zone holds and nobody declares.
FOREIGN = ("mail-a A", "mail-b AAAA", "mail-c CNAME", "ns1 A", "@ NS")


class Deleting(octodns_powerdns.PowerDnsProvider):
    """A stand-in for a provider that would remove a record of somebody else on the way."""

    def _extra_changes(self, existing: Any, desired: Any, changes: Any) -> list[Any]:
        return [Delete(record) for record in existing.records if record.name == "mail-a"]


class Forgetful(octodns_powerdns.PowerDnsProvider):
    """A stand-in for a provider that carries out what it is told, and whose answer is lost."""

    def _apply(self, plan: Any) -> None:
        super()._apply(plan)
        raise TimeoutError("read timed out")


class Clumsy(octodns_powerdns.PowerDnsProvider):
    """A stand-in for a provider that changes one record set after the other, and fails halfway."""

    def _apply(self, plan: Any) -> None:
        whole = plan.changes
        try:
            for number, change in enumerate(whole):
                if number == 3:
                    raise ConnectionError(f"reset by peer while the key was {API_KEY}")
                plan.changes = [change]
                super()._apply(plan)
        finally:
            plan.changes = whole


class Slow(octodns_powerdns.PowerDnsProvider):
    """A stand-in for a provider that raises every time to live below its own lowest."""

    MIN_TTL = 120

    def _include_change(self, change: Any) -> bool:
        return not (change.new and change.existing and change.new.data == {**change.existing.data, "ttl": 5})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """Run one server."""
    with real.serving("powerdns", tmp_path / "powerdns", api=True) as running:
        yield running


@pytest.fixture(autouse=True)
def decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the decision of a run."""
    monkeypatch.setenv(identity.DECISION, "d1")


class Hosted:
    """The action, told of one server and its API."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.provider: dict[str, Any] = {
            "class": "octodns_powerdns.PowerDnsProvider",
            "host": server.address,
            "port": server.api,
            "timeout": PATIENCE,
        }
        self.secrets = {"api_key": API_KEY}

    def act(self, verb: str, **more: Any) -> dict[str, Any]:
        """Run a verb as the role does."""
        settings: dict[str, Any] = {
            "records": DECLARED,
            "servers": {"ns-a": self.server.address},
            "resolvers": {},
            "port": self.server.port,
            "timeout": PATIENCE,
            "update": "octodns",
            "provider_wait": 0.0,
            "variables": {"dns_switchover_provider": self.provider, "dns_switchover_provider_secrets": self.secrets},
        }
        return act(verb, **{**settings, **more})

    def back(self) -> dict[str, Any]:
        """Return the records."""
        return self.act("switch", **BACK)

    def read(self) -> ServerView:
        """Ask the server."""
        return io_dns.read_server("ns-a", self.server.address, real.ZONE, RECORDS, self.server.port, PATIENCE)

    def foreign(self) -> dict[str, str]:
        """Return what the server says of the others' records."""
        told = {}
        for one in FOREIGN:
            name, kind = one.split()
            query = dns.message.make_query(real.ZONE if name == "@" else f"{name}.{real.ZONE}", kind)
            answer = dns.query.tcp(query, self.server.address, timeout=PATIENCE, port=self.server.port)
            told[one] = "; ".join(sorted(line for rrset in answer.answer for line in rrset.to_text().splitlines()))
        assert all(told.values())
        return told


@pytest.fixture
def hosted(server: Running) -> Iterator[Hosted]:
    """Give the zone, and see that nothing of others has changed."""
    made = Hosted(server)
    before = made.foreign()
    yield made
    assert made.foreign() == before


def test_the_audit_changes_nothing_and_finds_nothing(hosted: Hosted) -> None:
    before = hosted.read()
    assert hosted.act("audit")["wrong"] == []
    assert hosted.read() == before


def test_a_move_and_the_way_back(hosted: Hosted) -> None:
    """Every type; the state goes along; what others have stays; done twice it changes nothing."""
    first = hosted.read()
    told = hosted.act("prepare", check=True)
    assert told["changed"]
    assert "courses.example.org. 5 A 203.0.113.1\n" in told["diff"][0]["after"]
    assert hosted.read() == first
    told = hosted.act("prepare", provider_wait=60.0)
    assert (told["active"], told["ttl_left"]) == ("ns-a", 360), "counted from the last moment of publishing"
    prepared = hosted.read()
    assert {rrset.ttl for rrset in prepared.rrsets.values()} == {5}
    assert hosted.act("audit")["wrong"] == []
    assert not hosted.act("prepare")["changed"]
    assert hosted.act("switch", check=True)["changed"]
    assert hosted.read() == prepared
    moved = hosted.act("switch")
    assert (moved["changed"], moved["active"]) == (True, "ns-b")
    after = hosted.read()
    assert planner.wrong_answers(ZONE, after, "ns-b") == []
    assert serial_moved(prepared.serial or 0, after.serial or 0)
    assert not hosted.act("switch")["changed"]
    assert hosted.read() == after
    assert hosted.back()["active"] == "ns-a"
    assert not hosted.back()["changed"]
    assert hosted.act("retire", **BACK)["changed"]
    assert hosted.read().rrsets == first.rrsets


def test_a_wrong_key_is_named_by_the_audit_and_changes_nothing(hosted: Hosted) -> None:
    before = hosted.read()
    hosted.secrets["api_key"] = "another"
    (said,) = hosted.act("audit")["wrong"]
    assert "PowerDNS unauthorized" in said
    for check in (True, False):
        with pytest.raises(BasculeError, match="PowerDNS unauthorized") as error:
            hosted.act("prepare", check=check)
        assert "another" not in error.value.message().replace("another run", "")
    assert hosted.read() == before


def test_an_api_that_is_down_is_named_and_changes_nothing(hosted: Hosted) -> None:
    before = hosted.read()
    hosted.provider["port"] = real.free_port()
    (said,) = hosted.act("audit")["wrong"]
    assert "Connection refused" in said
    with pytest.raises(BasculeError, match="Connection refused"):
        hosted.act("prepare")
    assert hosted.read() == before


def test_a_plan_that_would_delete_what_is_not_ours_is_refused(hosted: Hosted) -> None:
    before = hosted.read()
    hosted.provider["class"] = f"{__name__}.Deleting"
    (said,) = hosted.act("audit")["wrong"]
    assert "it would delete mail-a.example.org./A, which is not to change" in said
    for check in (True, False):
        with pytest.raises(DnsRefused, match="would delete mail-a"):
            hosted.act("prepare", check=check)
    assert hosted.read() == before


def test_a_time_to_live_that_the_provider_does_not_take_is_named(hosted: Hosted) -> None:
    hosted.provider["class"] = f"{__name__}.Slow"
    hosted.provider["apply_disabled"] = True
    disabled, lowest, *_ = hosted.act("audit")["wrong"]
    assert disabled == "the provider carries out nothing: apply_disabled is set"
    assert lowest == "the provider takes no time to live below 120 s: set dns_switchover_ttl to it"
    with pytest.raises(DnsRefused, match=r"leave courses.example.org./A as it is, not 203.0.113.1 \(TTL 5\)"):
        hosted.act("prepare")


def test_an_answer_that_is_lost_is_no_failure_where_the_provider_holds_what_it_was_told(hosted: Hosted) -> None:
    hosted.provider["class"] = f"{__name__}.Forgetful"
    assert hosted.act("prepare")["active"] == "ns-a"
    assert hosted.act("switch")["active"] == "ns-b"
    assert planner.wrong_answers(ZONE, hosted.read(), "ns-b") == []


def test_a_change_that_ends_halfway_is_brought_up_by_the_next_run(hosted: Hosted) -> None:
    """The state says where it was going; the same run goes on, and so does the way back."""
    hosted.act("prepare")
    good, clumsy = hosted.provider["class"], f"{__name__}.Clumsy"
    for to, rest in (("ns-b", "ns-b"), ("ns-a", "ns-b")):
        other = "ns-a" if to == "ns-b" else "ns-b"
        hosted.provider["class"] = clumsy
        with pytest.raises(DnsRefused, match=r"does not hold .* as told") as error:
            hosted.act("switch", **{"from": other, "to": to})
        assert API_KEY not in error.value.message()
        assert f"ns-a points to {to}" in error.value.message()
        seen = hosted.act("look")
        assert (seen["active"], seen["faults"]) == (to, [])
        assert 0 < len(seen["wrong"]) < len(RECORDS), "some have moved"
        hosted.provider["class"] = good
        hosted.act("switch", **{"from": "ns-a" if rest == "ns-b" else "ns-b", "to": rest})
        assert planner.wrong_answers(ZONE, hosted.read(), rest) == []
        state = planner.survey(ZONE, [hosted.read()]).newest
        assert state
        assert (state.active(), state.pending) == (rest, "")


def test_times_to_live_that_are_halfway_hold_the_move_up_and_are_not_forgotten(hosted: Hosted) -> None:
    first = hosted.read()
    good = hosted.provider["class"]
    hosted.provider["class"] = f"{__name__}.Clumsy"
    with pytest.raises(DnsRefused, match="does not hold"):
        hosted.act("prepare")
    (fault,) = hosted.act("look")["faults"]
    assert fault == "ns-a: prepare has begun there and was not seen to end; run it again"
    hosted.provider["class"] = good
    hosted.act("prepare")
    assert hosted.act("look")["faults"] == []
    hosted.act("retire", **BACK)
    assert hosted.read().rrsets == first.rrsets


def test_what_the_server_does_not_say_is_not_overwritten_at_the_provider(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a server has not published yet: nothing is guessed from it."""
    hosted.act("prepare")
    old = hosted.read()
    hosted.act("switch")
    new = hosted.read()
    monkeypatch.setattr(io_dns, "read_server", lambda *_, **__: old)
    with pytest.raises(DnsRefused, match="wait until the server has published the zone") as error:
        hosted.act("retire", **BACK)
    assert "_bascule.example.org. is another one at the provider" in error.value.message()
    # The server still says what a return wants: nothing to change there, and the move is on its way.
    with pytest.raises(DnsRefused, match="another one at the provider than at ns-a"):
        hosted.back()
    monkeypatch.undo()
    monkeypatch.setenv(identity.DECISION, "d1")
    assert hosted.read() == new


def test_a_server_that_does_not_publish_in_time_is_named(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = hosted.read()
    monkeypatch.setattr(io_dns, "read_server", lambda *_, **__: stale)
    with pytest.raises(DnsRefused, match="to publish within 0 s what the provider holds"):
        hosted.act("prepare")
    monkeypatch.undo()
    assert hosted.read().state_text is not None


def test_a_zone_that_was_prepared_by_signed_updates_goes_on(hosted: Hosted) -> None:
    """The state is read in either spelling."""
    keys = {
        "dns_switchover_tsig_name": "bascule",
        "dns_switchover_tsig_secret": real.SECRET,
        "dns_switchover_tsig_algorithm": "hmac-sha256",
    }
    hosted.act("prepare", update="signed", variables=keys)
    assert (hosted.read().state_text or "").startswith('{"format"')
    assert hosted.act("switch")["active"] == "ns-b"
    assert (hosted.read().state_text or "").startswith("{'format'")
    assert hosted.back()["active"] == "ns-a"


def test_a_zone_that_the_provider_does_not_have_is_not_created(hosted: Hosted) -> None:
    (said,) = [
        one for one in hosted.act("audit", zone="example.net", records=[{**DECLARED[0]}])["wrong"] if "provider" in one
    ]
    assert said == "the zone example.net. at the provider: no such zone"


def test_texts_that_providers_take_differently_are_named(hosted: Hosted) -> None:
    odd = {"name": "text", "type": "TXT", "values": {"ns-a": "site a", "ns-b": '"say \\"b\\""'}}
    said = hosted.act("audit", records=[*(one for one in DECLARED if one["name"] != "text"), odd])["wrong"]
    assert said[0].startswith('text.example.org./TXT: "say \\"b\\"" for ns-b has a quote or a backslash in it')


def test_two_servers_of_one_provider_are_waited_for_and_changed_once(hosted: Hosted) -> None:
    """The second one finds that the provider holds all already."""
    both = {"servers": {"ns-a": hosted.server.address, "ns-b": hosted.server.address}}
    assert hosted.act("audit", **both)["wrong"] == []
    told = hosted.act("prepare", **both)
    assert len(told["diff"]) == 2
    # PowerDNS gives a serial of the day and counts on: three steps, once.
    assert (hosted.read().serial or 0) % 100 == 3
    assert not hosted.act("prepare", **both)["changed"]


def test_ansible_shows_no_secret_at_its_loudest(hosted: Hosted, tmp_path: Path) -> None:
    """A playbook with -vvvv and --diff, where it comes through and where the provider's own words hold the key."""
    inventory = {
        "dns_switchover_provider": hosted.provider,
        # A variable of another name, as from a vault: what is a secret is known by its place.
        "vault_key": API_KEY,
        "dns_switchover_provider_secrets": {"api_key": "{{ vault_key }}"},
    }
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"names": inventory}}}))
    task = {
        "component": "names",
        "zone": real.ZONE,
        "records": DECLARED,
        "from": "ns-a",
        "to": "ns-b",
        "servers": {"ns-a": hosted.server.address},
        "port": hosted.server.port,
        "timeout": PATIENCE,
        "update": "octodns",
        "provider_wait": 0,
    }
    tasks = [{"name": f"Do {verb}", "bascule_dns": {**task, "verb": verb}} for verb in ("audit", "prepare", "switch")]
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "names", "gather_facts": False, "tasks": tasks}]))
    root = Path(__file__).resolve().parents[3]

    def play(**more: Any) -> tuple[int, str]:
        done = subprocess.run(
            ["ansible-playbook", "-vvvv", "--diff", "-i", "hosts.yml", "play.yml", "-e", json.dumps(more)],
            cwd=tmp_path,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(tmp_path / "none.cfg"),
                "ANSIBLE_ACTION_PLUGINS": str(root / "plugins/action"),
                "ANSIBLE_LOG_PATH": str(tmp_path / "log"),
                "PYTHONPATH": f"{root / 'python_helpers'}:{root}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    halfway = {**hosted.provider, "class": "tests.unit.zone.test_hosted_real.Clumsy"}
    rc, failed = play(dns_switchover_provider=halfway)
    assert rc != 0
    assert "reset by peer while the key was (not shown)" in failed
    rc, output = play()
    assert rc == 0, output
    assert "+courses.example.org. 5 A 198.51.100.1" in output
    assert planner.wrong_answers(ZONE, hosted.read(), "ns-b") == []
    assert API_KEY not in failed + output + (tmp_path / "log").read_text()
