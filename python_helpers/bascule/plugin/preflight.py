"""One preflight before every phase: gather what is declared, out of Ansible's variables and roles; have it judged."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from ansible import constants
from ansible.errors import AnsibleError, AnsibleUndefinedVariable, AnsibleValueOmittedError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.utils.vars import load_extra_vars

from ..errors import PlanError
from ..run import preflight
from ..run.claims import Claimant
from ..run.components import upstream
from ..run.findings import Declared, Finding
from ..run.verbs import BACK, FORWARD, POINTING, VERBS, has
from ..system.io import remote, storage
from ..system.ssh import TRY
from . import asked, notice_preflight, telling
from .action import Scope
from .values import plain
from .way_in import WayInError

GATE = "bascule_gate"
# Seconds for one component to look at all, and for a machine to answer it.
_LONGEST = 300.0
_PATIENCE = 20
# What a way back needs of the plan.
_PLAN_BACK = ("plan_name", "plan_sites", "plan_source_site", "plan_target_site", "plan_journal_hosts")
# What a role's work on the controller imports, and the package that brings it. octoDNS is needed by the zones of a
# provider only, and `_provider_findings` loads it with the provider's class.
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "proxmox_guest": {"proxmoxer": "proxmoxer", "requests": "requests"},
    "dns_switchover": {"dns": "dnspython"},
}
# What an error says of an address may quote it.
_NOTICES: Mapping[str, Mapping[str, Any]] = {"notice_urls": {"no_log": True}}
_SPEC = ("type", "elements", "choices", "options")


def must_be_right(scope: Scope, templar: Any, loader: Any, phase: str) -> None:
    """Refuse to begin a phase with a declaration that cannot be right; everything that is wrong is named at once.

    Nothing is written but a note in the playbook's own temporary directory: components run side by side, the first one
    looks at all and names what it finds, and the others name that one. Only the audit, and a plan, connect to
    machines, to try the way in. APIs and name servers are asked where a phase needs them (`asked`).

    Args:
        scope: the task's component and all others.
        templar: the action's, which knows the filters and lookups of the play.
        loader: the action's, which reads the roles' files.
        phase: which playbook begins.

    Raises:
        PlanError: with all findings.
    """
    note = Path(constants.DEFAULT_LOCAL_TMP) / f"bascule-preflight-{phase}.json"
    with storage.locked(note.with_suffix(".lock"), _LONGEST):
        known = storage.read_json(note)
        if known is None:
            gathered = Gathered(scope, templar, loader, phase)
            found = [replace(one, place=gathered.place(one)) for one in gathered.findings()]
            # The journal and the agents take a way of their own, which is first needed where something changes.
            found += _no_way_in(scope, phase) if phase in ("audit", "plan") else []
            storage.write_json(note, {"by": scope.component, "count": len(found)})
            preflight.refuse([one.text() for one in found], phase)
        else:
            preflight.refuse([""] * int(known["count"]), phase, str(known["by"]))


def sampled_by(roles: set[str]) -> dict[str, set[str]]:
    """Return the gates that roles put samples to, with their units; a unit that is only known in a run is any."""
    found: dict[str, set[str]] = {}
    anything: set[str] = set()
    for role in sorted(roles):
        for task in _gates_of(role):
            name, unit = str(task.get("name", "")), str(task.get("unit", ""))
            found.setdefault(name, set()).add(unit)
            if "{{" in unit:
                anything.add(name)
    return {name: set() if name in anything else units for name, units in found.items()}


def controllers_lack(roles: Collection[str]) -> list[Finding]:
    """Name the Python packages that these roles need here, on the controller, and that Ansible's Python has not."""
    needed = {module: package for role in roles for module, package in _PACKAGES.get(role, {}).items()}
    lacking = sorted(package for module, package in needed.items() if not _is_there(module))
    expected = f"in {sys.executable}, which runs Ansible here: {', '.join(sorted(needed.values()))}"
    found = f"no {', '.join(lacking)}: pip install -e . in the project's directory, and that environment's Ansible"
    return [Finding("controller", "Python", expected, found)] if lacking else []


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


class Gathered:
    """What is declared, with the values that the roles would see."""

    def __init__(self, scope: Scope, templar: Any, loader: Any, phase: str) -> None:
        self._scope, self._templar, self._loader, self._phase = scope, templar, loader, phase
        hostvars: Any = scope.hostvars
        self._raw: dict[str, dict[str, Any]] = {name: dict(hostvars.raw_get(name)) for name in scope.components}
        # The components that are no names, and what each component depends on.
        moving = (name for name, raw in self._raw.items() if str(raw["component_role"]) not in POINTING)
        self._others = dict.fromkeys(moving)
        self._depends = {name: [str(one) for one in raw.get("depends_on") or ()] for name, raw in self._raw.items()}

    def findings(self) -> list[Finding]:
        """Return all findings."""
        scope = self._scope
        plan, found = self._plan()
        taking_part = scope.in_play
        if self._phase in preflight.WAYS_BACK:
            # Nothing is read that decides nothing there: the site that is gone may be needed to know it.
            roles = {name: str(self._raw[name]["component_role"]) for name in taking_part}
            present = [self._declared(name) for name in taking_part if not preflight.skips(self._phase, roles[name])]
            return found + preflight.findings(self._phase, plan, dict.fromkeys(self._machines()), present, [], {})
        sites = self._sites()
        declared = [self._declared(name) for name in scope.components]
        claimed = [
            claim
            for one in declared
            for claim in Claimant(
                one.name, one.role, one.sides, sites, {host: self._address(host) for host in one.sides}, one.values
            ).claims()
        ]
        part = set(taking_part)
        present = [one for one in declared if one.name in part]
        sampled = sampled_by({one.role for one in declared})
        found += preflight.findings(self._phase, plan, sites, present, claimed, sampled)
        found += controllers_lack({one.role for one in present})
        for one in present:
            if one.role == "dns_switchover" and not preflight.skips(self._phase, one.role):
                found += _zone_findings(one)
        found += self._of_notices() if self._phase in notice_preflight.PHASES else []
        # What is not declared rightly is not asked.
        wrong = {word for finding in found for word in finding.subject.split()}
        right = [one for one in present if one.name not in wrong]
        return found + asked.versions() + asked.answers(right, self._phase, self._address)

    def _of_notices(self) -> list[Finding]:
        raw = self._raw[self._scope.component]
        values, faults = self._templated([one for one in telling.VARIABLES if one in raw], raw, _NOTICES)
        return notice_preflight.findings(self._scope, values, faults)

    def place(self, finding: Finding) -> str:
        """Return the file and the line of the variable that a finding is about; nothing where Ansible does not know."""
        raw = self._raw.get(finding.subject.partition(" ")[0], self._raw[self._scope.component])
        name, *inside = finding.key.split(".")
        value = raw.get(name)
        found = _origin(value)
        for key in inside:
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
            found = _origin(value) or found
        path, line = found
        base = self._scope.inventory
        return f"{os.path.relpath(path, base) if base and path.startswith(base) else path}:{line}" if path else ""

    def _plan(self) -> tuple[dict[str, Any], list[Finding]]:
        """Return the plan's variables, and those that have no value."""
        raw = self._raw[self._scope.component]
        back = self._phase in preflight.WAYS_BACK
        names = [name for name in raw if (name in _PLAN_BACK if back else name.startswith("plan_"))]
        values, faults = self._templated(names, raw, {})
        return values, [Finding("plan", name, "a value", why) for name, why in faults.items()]

    def _sites(self) -> dict[str, Any]:
        """Return the site of each machine; None where none is known, as `-e site=` of who gives one up hides them."""
        hidden = "site" in load_extra_vars(self._loader)
        return {name: None if hidden else plain(self._scope.hostvars[name].get("site")) for name in self._machines()}

    def _machines(self) -> list[str]:
        return [name for name in map(str, self._scope.hostvars) if name not in self._raw]

    def _address(self, host: str) -> str:
        known = self._scope.hostvars
        return str(known[host].get("ansible_host") or host) if host in known else host

    def _declared(self, name: str) -> Declared:
        raw = self._raw[name]
        role, sides = str(raw["component_role"]), (str(raw["source_host"]), str(raw["target_host"]))
        directory = _directory(role)
        options = self._options(directory)
        # As the role sees them: its own defaults, and the facts that bascule_begin will give.
        facts = {"bascule_from": sides[0], "bascule_to": sides[1], "bascule_direction": FORWARD}
        if self._phase in preflight.WAYS_BACK:
            facts |= {"bascule_from": sides[1], "bascule_to": sides[0], "bascule_direction": BACK}
        facts |= {"bascule_phase": self._phase, "bascule_verb": "", "inventory_hostname": name}
        facts |= {"bascule_run": "", "bascule_decision": "", "role_path": str(directory), "role_name": role}
        around = {
            **self._file(directory, "defaults/main.yml"),
            **raw,
            **self._file(directory, "vars/main.yml"),
            **facts,
        }
        values, faults = self._templated([one for one in options if one in around], around, options)
        for variable in options:
            if variable in raw and variable in values and (why := _misfit(variable, values[variable], options)):
                faults[variable] = why
        lacking = [
            verb
            for verb in VERBS
            if has(role, verb)
            and not any(storage.is_file(directory / "tasks" / f"{verb}{suffix}") for suffix in (".yml", ".yaml"))
        ]
        # Only of names it is asked whether they wait for anybody.
        beside = self._beside(name) if role in POINTING else []
        return Declared(name, role, sides, values, options, faults, lacking, beside)

    def _beside(self, name: str) -> list[str]:
        """Return the components that are no names, where this one depends on none of them."""
        return [] if not upstream(name, self._depends).isdisjoint(self._others) else [*self._others]

    def _templated(
        self, names: list[str], variables: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values of variables, and why others have none; what an error says of a secret may quote it."""
        around = {**variables, "hostvars": self._scope.hostvars}
        templar = self._templar.copy_with_new_env(available_variables=around)
        values, faults = {}, {}
        for name in names:
            try:
                values[name] = plain(templar.template(variables[name]))
            except AnsibleValueOmittedError:
                # As if it were not declared.
                continue
            except AnsibleUndefinedVariable as error:
                faults[name] = f"nothing: {error.message}"
            except AnsibleError as error:
                hidden = options.get(name, {}).get("no_log")
                faults[name] = f"a template that fails ({type(error).__name__ if hidden else error.message})"
        return values, faults

    def _options(self, directory: Path) -> dict[str, Mapping[str, Any]]:
        """Return the variables that a role takes; all of its verbs take the same."""
        entries = self._file(directory, "meta/argument_specs.yml").get("argument_specs") or {}
        return {name: option for entry in entries.values() for name, option in (entry.get("options") or {}).items()}

    def _file(self, directory: Path, name: str) -> dict[str, Any]:
        path = directory / name
        return dict(self._loader.load_from_file(str(path)) or {}) if storage.is_file(path) else {}


def _no_way_in(scope: Scope, phase: str) -> list[Finding]:
    """Try the way that journal and agents take into every machine; name those where it does not lead in.

    An audit goes on without root where that is declared; the way of whoever logs in has to lead in all the same.
    """
    sides = [scope.hostvars[name][side] for name in scope.in_play for side in ("source_host", "target_host")]
    named = scope.get("plan_journal_hosts")
    for hosts in named.values() if isinstance(named, Mapping) else []:
        sides += hosts if isinstance(hosts, list) else [hosts]
    machines = sorted({str(host) for host in sides if str(host) in scope.hostvars})
    expected = "a way in as root, by SSH with a key and by sudo, whose password may stand in ansible_become_password"
    targets, scripts, found = {}, {}, {}
    for host in machines:
        try:
            without = phase == "audit" and scope.is_without_root(host)
            targets[host] = scope.way_in(host, root=not without)
            scripts[host] = "true" if without else TRY
        except WayInError as error:
            found[host] = Finding(host, error.variable, error.wanted, error.found)
    answers = remote.run_on(targets, scripts, {}, _PATIENCE)
    for host, answer in answers.items():
        if answer.error:
            found[host] = Finding(host, "ansible_user", expected, answer.error)
    return [finding for _, finding in sorted(found.items())]


def _directory(role: str) -> Path:
    """Return the role's directory; the inventory plugin has seen that there is one."""
    paths = [Path(root) / role for root in constants.DEFAULT_ROLES_PATH]
    return next((path for path in paths if storage.is_directory(path)), Path(role))


def _misfit(name: str, value: Any, options: Mapping[str, Mapping[str, Any]]) -> str:
    """Return why a value is none that the role takes, as Ansible would say it when the role begins."""
    option = options[name]
    spec = {key: plain(option[key]) for key in _SPEC if key in option}
    if value is None or spec.get("type") == "raw":
        return ""
    errors = ArgumentSpecValidator({name: spec}).validate({name: value}).error_messages
    return ("another one (not shown)" if option.get("no_log") else "; ".join(errors)) if errors else ""


def _zone_findings(one: Declared) -> list[Finding]:
    """Name zones and records that cannot be told to any name server, and a key that is none."""
    try:
        from ..dns import zones
        from ..dns.records import doubtful, parse_records
    except ImportError as error:
        return [Finding(one.name, "dns_switchover_zone", "dnspython on the controller", str(error))]
    zone, records = str(one.values.get("dns_switchover_zone") or ""), one.values.get("dns_switchover_records")
    further = one.values.get("dns_switchover_further_zones") or []
    secrets = one.values.get("dns_switchover_further_secrets") or {}
    found, key = [], "dns_switchover_further_zones"
    if not {key, "dns_switchover_further_secrets"} & set(one.faults):
        found += [
            Finding(one.name, key, "zones that can be served", why) for why in zones.faults(zone, further, secrets)
        ]
    usable = isinstance(records, list) and all(isinstance(record, Mapping) for record in records)
    if zone and records and usable:
        try:
            parse_records(records, zone, one.sides, zones.names(further))
        except PlanError as error:
            found.append(Finding(one.name, "dns_switchover_records", error.expected, error.found))
        found += [Finding(one.name, "dns_switchover_records", "names that are meant", why) for why in doubtful(records)]
    own = [entry for entry in further if isinstance(entry, Mapping)] if isinstance(further, list) else []
    usual = str(one.values.get("dns_switchover_update") or "signed")
    updates = {usual, *(str(entry.get("update") or usual) for entry in own if not _of_its_own(entry, usual))}
    provider = ("dns_switchover_provider", "dns_switchover_provider_secrets")
    if "octodns" in updates and not {*provider} & set(one.faults):
        found += _provider_findings(one.name, provider[0], *(one.values.get(name) for name in provider))
    # By hand nothing is signed; a role without the variable has no use for a key.
    if "signed" in updates and "dns_switchover_tsig_secret" in one.options:
        found += _key_findings(one)
    for entry in own:
        if entry.get("provider") and str(entry.get("update") or usual) == "octodns":
            hidden = zones.secrets_of(secrets, str(entry.get("name"))).get("provider_secrets")
            found += _provider_findings(one.name, key, entry["provider"], hidden)
    return found


def _of_its_own(entry: Mapping[str, Any], usual: str) -> bool:
    """Whether a further zone has what its way of updates needs, and takes nothing of the component's."""
    needed = {"signed": "tsig_name", "octodns": "provider"}.get(str(entry.get("update") or usual))
    return bool(needed and entry.get(needed))


def _key_findings(one: Declared) -> list[Finding]:
    """Name what is missing of the component's key."""
    from ..dns import zones

    kinds = {"dns_switchover_tsig_name": "a value of type str", "dns_switchover_tsig_secret": "a secret"}
    found = [
        Finding(one.name, name, kind, "nothing")
        for name, kind in kinds.items()
        if name not in one.faults and not one.values.get(name)
    ]
    if not zones.decodes(one.values.get("dns_switchover_tsig_secret")):
        key = "dns_switchover_tsig_secret"
        found.append(Finding(one.name, key, "a secret in base64", "one that does not decode (not shown)"))
    return found


def _provider_findings(name: str, key: str, declared: Any, secrets: Any) -> list[Finding]:
    """Name a provider that cannot be made from what is declared; nothing is asked of it."""
    from ..dns.io import provider

    try:
        made = provider.settings(declared, secrets or {})
    except PlanError as error:
        return [Finding(name, key, error.expected, error.found)]
    why = provider.missing(made.path)
    of_class = f"{key}.class" if key == "dns_switchover_provider" else key
    return [Finding(name, of_class, "a class that can be loaded on the controller", why)] if why else []


def _origin(value: Any) -> tuple[str, int]:
    """Return where a value was written down; Ansible keeps it beside the value."""
    try:
        from ansible._internal._datatag._tags import Origin
    except ImportError:
        return "", 0
    origin = Origin.get_tag(value)
    return (str(origin.path), int(origin.line_num or 0)) if origin is not None and origin.path else ("", 0)


def _gates_of(role: str) -> Iterator[Mapping[str, Any]]:
    directory = _directory(role) / "tasks"
    for path in sorted(storage.children(directory)) if storage.is_directory(directory) else []:
        text = storage.read_text(path) or "" if path.suffix in (".yml", ".yaml") else ""
        if GATE in text:
            yield from _gates(yaml.safe_load(text))


def _gates(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get(GATE), Mapping):
            yield value[GATE]
        for item in value.values():
            yield from _gates(item)
    elif isinstance(value, list):
        for item in value:
            yield from _gates(item)
