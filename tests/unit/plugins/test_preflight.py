"""The preflight in real playbooks: every error of a declaration in one message, before anything is touched."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.plugins.test_lost import are_held
from tests.unit.plugins.test_play import COMPONENTS, PLAN, ROOT, SIDES, World, have_moved, play

from bascule.plugin import preflight
from bascule.run.findings import Declared
from bascule.run.preflight import PHASES

# What the project's own roles are to move, with an error of each kind.
OWN = f"""
  files: {{{SIDES.replace("toy", "rsync_delta_sync")}, rsync_delta_sync_path: /srv/a}}
  more: {{{SIDES.replace("toy", "rsync_delta_sync")}, rsync_delta_sync_path: /srv//a/, rsync_delta_sync_port: ssh}}
  guest:
    component_role: proxmox_guest
    source_host: a-mtp
    target_host: a-tls
    proxmox_guest_token_secrets: "{{{{ vault_tokens }}}}"
    proxmox_guest_sides:
      a-mtp: {{api_host: p.mtp, node: p, vmid: 100, storage: local}}
      a-tls: {{api_host: p.tls, node: p, storage: local}}
  names:
    component_role: dns_switchover
    source_host: a-mtp
    target_host: a-tls
    dns_switchover_zone: example.org
    dns_switchover_tsig_name: key
    dns_switchover_tsig_secret: "{{{{ vault_key }}}}"
    dns_switchover_resolver_wait: "{{{{ dns_switchover_ttl * 3 if bascule_to == 'a-tls' else 1 }}}}"
    dns_switchover_records:
      - {{name: www, type: CNAME, values: {{a-mtp: lb.mtp.example.net., a-tls: lb.tls.example.net}}}}
"""
# A login that notes what it was asked for: one machine wants a password for sudo, one is not there.
LOGIN = """#!/bin/sh
echo "$@" >>"$BASCULE_TEST_HOSTS/../asked"
while [ "$1" != -- ]; do shift; done
case $2 in
a-tls) echo "sudo: a password is required" >&2; exit 1 ;;
j-tls) echo "no route to j-tls" >&2; exit 255 ;;
esac
"""
# A Python in which a package is not installed.
HIDES = """
import sys
class Hides:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "proxmoxer":
            raise ModuleNotFoundError("No module named 'proxmoxer'")
sys.meta_path.insert(0, Hides())
"""
VAULT = """
vault_tokens: "{{ undef(hint='set it in vault.yml') }}"
vault_key: "s3cr3t!"
"""


def left_at_the_sites(world: World) -> list[Path]:
    """Return the files on all machines."""
    return [path for path in world.hosts.rglob("*") if path.is_file()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make a world."""
    yield World(tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)


def refusals(output: str) -> list[list[str]]:
    """Return the messages of the preflight, each as its lines."""
    texts = output.split("[ERROR]: Task failed: ")[1:]
    return [text.split("; state now: ")[0].splitlines() for text in texts if "can begin" in text]


def test_every_error_is_named_at_once_and_nothing_is_touched(world: World) -> None:
    world.environment["ANSIBLE_ROLES_PATH"] = f"{world.path / 'roles'}:{ROOT / 'roles'}"
    inventory = world.path / "inventory"
    (inventory / "components.yml").write_text(COMPONENTS + OWN)
    (inventory / "group_vars/all/plan.yml").write_text(
        PLAN.replace("tls: j-tls", "tls: j-mtp").replace("min: 5", "min: soon").replace("name: toulouse, ", "")
    )
    (inventory / "group_vars/all/vault.yml").write_text(VAULT)
    for verb in PHASES["audit"]:
        if verb not in ("thaw", "retire"):
            (world.path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 2, output
    *others, (first, *said) = sorted(refusals(output), key=len)
    assert first == "expected: a plan with which audit can begin; found: 12 findings"
    assert len(said) == 12
    for line in (
        "plan: plan_target_site (group_vars/all/plan.yml:4): expected an entry of plan_sites that has a name; found"
        " 'tls'",
        "plan: plan_journal_hosts.tls (group_vars/all/plan.yml:6): expected machines of the site tls; found j-mtp,"
        " which is of mtp",
        "plan: plan_gates.speed (group_vars/all/plan.yml:7): expected a gate that a role samples, with a limit that a"
        " sample can keep; found min is no number: 'soon'",
        "low: component_role: expected a role with a task file for each verb; found toy with none for thaw, retire",
        "files and more: rsync_delta_sync_path (components.yml:7): expected path /srv/a of one component alone; found"
        " both have it at a-mtp and at a-tls",
        "guest: proxmox_guest_token_secrets (components.yml:13): expected a secret; found nothing: set it in vault.yml",
        "guest: proxmox_guest_sides.a-tls.vmid (components.yml:16): expected a value; found nothing",
        "names: depends_on: expected what has to be open before it moves, out of files, guest, low, more, top; found"
        " nothing: it would move though nothing was switched",
        "names: dns_switchover_tsig_secret (components.yml:23): expected a secret in base64; found one that does not"
        " decode (not shown)",
    ):
        assert f"- {line}" in said, (line, said)
    (port,) = [line for line in said if "rsync_delta_sync_port" in line]
    assert "expected a value of type int; found" in port
    (records,) = [line for line in said if "dns_switchover_records" in line]
    assert "'lb.tls.example.net', which would be published as lb.tls.example.net.example.org." in records
    assert "s3cr3t" not in output
    named = re.search(r"fatal: \[(\w+)\].*expected: a plan with which audit can begin; found: 12 findings\\n", output)
    assert named, "one component names them"
    assert others == [[f"expected: a plan with which audit can begin; found: 12 findings, named at {named[1]}"]]
    assert output.count("fatal: ") == 6, "none goes on"
    assert left_at_the_sites(world) == []


def test_the_audit_tries_the_way_that_journal_and_agents_take_into_every_machine(world: World) -> None:
    """With the user of Ansible's own settings, and sudo: both were first used when something was changed."""
    for verb in PHASES["audit"]:
        (world.path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    (world.path / "bin/ssh").write_text(LOGIN)
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml", arguments=("-u", "ops"))
    assert rc == 2
    way = (
        "expected a way in as root, by SSH with a key and by sudo, whose password may stand in ansible_become_password;"
        " found exit status"
    )
    ((_, *said),) = [one for one in refusals(output) if len(one) > 1]
    assert said == [
        f"- a-tls: ansible_user: {way} 1: sudo: a password is required",
        f"- j-tls: ansible_user: {way} 255: no route to j-tls",
    ]
    asked = (world.path / "asked").read_text()
    for host in ("a-mtp", "a-tls", "j-mtp", "j-tls"):
        assert f"-- {host} sudo -H -n sh -c" in asked
    assert 'User="ops"' in asked


def test_a_secret_that_its_role_cannot_use_is_not_shown(world: World) -> None:
    tasks = world.path / "roles/toy"
    (tasks / "meta").mkdir()
    (tasks / "meta/argument_specs.yml").write_text(
        "argument_specs: {sync: {options: {toy_key: {type: int, no_log: true, required: true},"
        " toy_other: {type: str, no_log: true}}}}\n"
    )
    (tasks / "tasks/sync.yml").write_text("[]\n")
    secrets = world.path / "inventory/group_vars/all/secrets.yml"
    secrets.write_text("""toy_key: s3cr3t\ntoy_other: "{{ 's3cr3t' | from_json }}"\n""")
    rc, output = world.run(playbook=ROOT / "playbooks/30_sync.yml", arguments=("--limit", "low"))
    assert rc == 2
    assert refusals(output) == [
        [
            "expected: a plan with which sync can begin; found: 2 findings",
            "- low: toy_key (group_vars/all/secrets.yml:1): expected a secret; found another one (not shown)",
            "- low: toy_other (group_vars/all/secrets.yml:2): expected a secret; found a template that fails"
            " (AnsibleTemplatePluginRuntimeError)",
        ]
    ]
    assert "s3cr3t" not in output


# That each playbook asks first, and for which verbs, is held by tests/meta/test_playbooks.py.
SHORT = ("cutover", "rollback", "guard_lost")
# Without `state` Ansible itself ends a playbook: a phase that calls no other verb comes to no preflight.
OTHERS = [phase for phase, verbs in PHASES.items() if set(verbs) - {"state"}]


@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=[] if phase in SHORT else [pytest.mark.long]) for phase in OTHERS]
)
def test_no_phase_begins_with_a_verb_that_is_missing(world: World, phase: str) -> None:
    tasks = world.path / "roles/toy/tasks"
    (playbook,) = [path for path in (ROOT / "playbooks").glob("*.yml") if path.stem.lstrip("0123456789_") == phase]
    # Others read both sides first, so the verb that lacks is another one where there is another.
    lacking = next(verb for verb in reversed(PHASES[phase]) if verb != "state")
    for verb in PHASES["audit"]:
        (tasks / f"{verb}.yml").write_text(world.state if verb == "state" else "[]\n")
    (tasks / f"{lacking}.yml").unlink()
    words = ("-e", "site=Montpellier", "-e", "by=Nadia", "-e", '{"fenced": "power cut"}')
    are_held(world)
    if phase in ("site_lost", "guard_lost"):
        world.are_down("a-mtp", "j-mtp")
    before = {path: path.read_text() for path in left_at_the_sites(world) if path.suffix != ".down"}
    answer = "confirm=montpellier" if phase == "rollback" else "confirm=toulouse"
    rc, output = world.run(playbook=playbook, arguments=("-e", answer, *words))
    assert rc != 0, output
    said = f"expected a role with a task file for each verb; found toy with none for {lacking}"
    assert any(said in line for refusal in refusals(output) for line in refusal), output
    assert {path: path.read_text() for path in left_at_the_sites(world) if path.suffix != ".down"} == before


@pytest.mark.parametrize("name", ["lab", "techcorp"])
def test_nothing_is_wrong_with_the_inventories_of_the_project(tmp_path: Path, name: str) -> None:
    """Once their secrets are there."""
    world = World(tmp_path / "here")
    world.environment["ANSIBLE_ROLES_PATH"] = str(ROOT / "roles")
    inventory, secret = world.path / "inventory", "c2VjcmV0"
    (world.path / "bin/ssh").write_text("#!/bin/sh\nexit 0\n")
    shutil.rmtree(inventory)
    shutil.copytree(ROOT / "inventories" / name, inventory)
    for path in inventory.glob("group_vars/all/vault.yml"):
        path.write_text(re.sub(r'"\{\{ undef.*', secret, path.read_text()))
    (tmp_path / ".lab/secrets").mkdir(parents=True)
    for key in ("replication_password", "smoke_token", "pve_token", "tsig.secret"):
        (tmp_path / ".lab/secrets" / key).write_text(secret)
    # A phase that asks neither APIs nor name servers: those of an inventory are none of this machine.
    before, _, after = play("verify").replace("phase: cutover", "phase: verify").partition("    - name: Do it")
    rc, output = world.run(before + after.partition("\n")[2].partition("\n")[2])
    assert refusals(output) == []
    assert rc == 0, output


def test_status_answers_whatever_is_wrong_with_the_plan(world: World) -> None:
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN.replace("min: 5", "min: soon"))
    rc, output = world.move("status.yml")
    assert rc == 0, output
    assert refusals(output) == []


def test_what_decides_nothing_on_a_way_back_holds_up_none(world: World) -> None:
    """Figures and gates that need what is gone; a machine that is declared at another site than it was."""
    have_moved(world)
    plan = world.path / "inventory/group_vars/all/plan.yml"
    plan.write_text(
        plan.read_text() + "plan_limits: {x: '{{ gone }}'}\nplan_link: '{{ gone }}'\nplan_own: '{{ gone }}'\n"
    )
    hosts = world.path / "inventory/hosts.yml"
    hosts.write_text(hosts.read_text().replace("a-tls: {}", "a-tls: {site: x}"))
    rc, output = world.move("60_cutover.yml")
    assert rc != 0
    assert "plan_limits" in output
    assert "a-tls, which is of x" in output
    rc, output = world.roll_back()
    assert rc == 0, output


def test_what_the_controllers_python_lacks_is_named_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    every = {path.name for path in (ROOT / "roles").iterdir()}
    assert preflight.controllers_lack(every) == []
    real = importlib.util.find_spec
    gone = {"proxmoxer", "dns", "octodns"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    (found,) = preflight.controllers_lack(every)
    start = f"controller: Python: expected in {sys.executable}, which runs Ansible here: dnspython, proxmoxer"
    assert found.text().startswith(start)
    assert "found no dnspython, proxmoxer: pip install -e ." in found.text()
    assert "no proxmoxer: pip" in preflight.controllers_lack({"proxmox_guest"})[0].text()
    gone.remove("dns")
    assert preflight.controllers_lack({"dns_switchover"}) == [], "zones that need no provider do not need octoDNS"
    assert preflight.controllers_lack({"rsync_delta_sync"}) == [], "what no role of the plan needs is not asked for"


def test_a_controllers_python_without_a_package_ends_the_audit_in_its_first_minute(world: World) -> None:
    """The packages are hidden from a playbook as if they had never been installed."""
    hidden = world.path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDES)
    world.environment["PYTHONPATH"] = f"{hidden}:{os.environ.get('PYTHONPATH', '')}"
    world.environment["ANSIBLE_ROLES_PATH"] = f"{world.path / 'roles'}:{ROOT / 'roles'}"
    (world.path / "inventory/components.yml").write_text(COMPONENTS + OWN)
    (world.path / "inventory/group_vars/all/vault.yml").write_text(VAULT)
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 2, output
    named = [line for one in refusals(output) for line in one if line.startswith("- controller: Python: ")]
    assert [line.partition("; found ")[2].partition(":")[0] for line in named] == ["no proxmoxer"]


def test_a_key_is_asked_for_only_where_updates_are_signed() -> None:
    def said(**values: str) -> list[str]:
        options = {"dns_switchover_tsig_secret": {"no_log": True}}
        declared = Declared("names", "dns_switchover", ("a-mtp", "a-tls"), values, options)
        return [finding.key for finding in preflight._zone_findings(declared)]

    assert said(dns_switchover_update="manual") == []
    assert said(dns_switchover_update="signed") == ["dns_switchover_tsig_name", "dns_switchover_tsig_secret"]
    assert said(dns_switchover_tsig_name="key", dns_switchover_tsig_secret="c2VjcmV0") == []


def test_a_further_zone_has_what_it_needs_or_takes_the_components() -> None:
    """No secret is in what is said."""

    def said(update: str, *further: dict[str, Any], **values: Any) -> list[str]:
        options = {"dns_switchover_tsig_secret": {"no_log": True}}
        more = {"dns_switchover_update": update, "dns_switchover_further_zones": list(further), **values}
        zone = {"dns_switchover_zone": "example.org", **more}
        declared = Declared("names", "dns_switchover", ("a-mtp", "a-tls"), zone, options)
        return [f"{finding.key}: {finding.found}" for finding in preflight._zone_findings(declared)]

    key = ["dns_switchover_tsig_name: nothing", "dns_switchover_tsig_secret: nothing"]
    assert said("manual", {"name": "b.example"}) == []
    assert said("manual", {"name": "b.example", "update": "signed"}) == key
    own = {"name": "b.example", "update": "signed", "tsig_name": "k"}
    assert said("manual", own, dns_switchover_further_secrets={"b.example": {"tsig_secret": "c2VjcmV0"}}) == []
    assert said("manual", own) == [
        "dns_switchover_further_zones: further zone 1 (b.example): the key k has no tsig_secret in"
        " dns_switchover_further_secrets"
    ]
    assert said("manual", {"name": "b.example", "update": "octodns"}) == [
        "dns_switchover_provider: no class with its module's name"
    ]
    (found,) = said("manual", {"name": "b.example", "update": "octodns", "provider": {"class": "octodns_none.X"}})
    assert found.startswith("dns_switchover_further_zones: No module named 'octodns_none'")


def test_a_provider_is_asked_for_only_where_it_hosts_the_zone() -> None:
    """No secret is in what is said."""

    def said(**values: Any) -> list[tuple[str, str]]:
        more = {"dns_switchover_update": "octodns", **values}
        declared = Declared("names", "dns_switchover", ("a-mtp", "a-tls"), more, {})
        return [(finding.key, finding.found) for finding in preflight._zone_findings(declared)]

    good = {"class": "octodns_powerdns.PowerDnsProvider", "host": "192.0.2.1"}
    assert said(dns_switchover_provider=good, dns_switchover_provider_secrets={"api_key": "k"}) == []
    assert said() == [("dns_switchover_provider", "no class with its module's name")]
    assert said(dns_switchover_provider={"class": "PowerDnsProvider"})[0][0] == "dns_switchover_provider"
    ((key, found),) = said(dns_switchover_provider={"class": "octodns_none.Provider"})
    assert key == "dns_switchover_provider.class"
    assert "No module named 'octodns_none'" in found
    ((_, found),) = said(
        dns_switchover_provider={**good, "api_key": "hush"}, dns_switchover_provider_secrets={"api_key": "hush"}
    )
    assert found == "in both: api_key"
    ((_, found),) = said(dns_switchover_provider=good, dns_switchover_provider_secrets="hush")
    assert found == "another type (not shown)"
