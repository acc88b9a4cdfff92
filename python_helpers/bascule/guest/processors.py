"""What a guest's processors and machine type need of the node at which it is to start, and Proxmox would miss there.

Sources: PVE::QemuServer (`MAX n vcpus allowed per VM on this node`, `host NUMA node1 doesn't exist`, `taskset` with the
guest's `affinity`), PVE::QemuServer::CPUConfig (models, and `enforce` for their flags).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from . import config as guest_config
from . import kinds, preflight
from .guest import Guest

# What the kernel calls the flags that Proxmox's own models ask for beyond qemu64.
_V2 = frozenset({"pni", "ssse3", "sse4_1", "sse4_2", "popcnt"})
_V3 = _V2 | {"aes", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_FLAGS: Mapping[str, frozenset[str]] = {
    "x86-64-v2": _V2,
    "x86-64-v2-AES": _V2 | {"aes"},
    "x86-64-v3": _V3,
    "x86-64-v4": _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
_OF_THE_HOST = ("host", "max")
_VERSIONED = re.compile(r"^(pc(?:-i440fx|-q35)?-\d+(?:\.\d+)+)")


def questions(source: Guest, target: Guest, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask the target's node whether it has what the guest names (findings, notes)."""
    if source.kind is kinds.LXC:
        return _of_a_container(source, target, config)
    findings: list[str] = []
    notes: list[str] = []
    where = f"the guest {source.side.vmid} at {source.side.machine}"
    status = preflight.ask(target, findings, f"nodes/{target.side.node}/status") or {}
    info = status.get("cpuinfo") or {}
    count = int(info.get("cpus") or 0)
    if count:
        found, said = _counted(where, target.side.machine, count, config)
        findings += found
        notes += said
    for name in sorted(config):
        nodes = guest_config.options(str(config[name])).get("hostnodes", "") if re.fullmatch(r"numa\d+", name) else ""
        if set(numbers(nodes)) - {0}:
            notes.append(
                f"{where}: {name} is bound to the NUMA nodes {nodes} of its host, and no API tells whether "
                f"{target.side.machine} has them: without, Proxmox does not start it there; a proof boot shows it"
            )
    findings += _model(where, target, config, set(str(info.get("flags") or "").split()))
    findings += _machine(where, target, config)
    return findings, notes


def _of_a_container(source: Guest, target: Guest, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Ask the target's node whether it has as many processors as a container names (findings, notes)."""
    findings: list[str] = []
    status = preflight.ask(target, findings, f"nodes/{target.side.node}/status") or {}
    count = int((status.get("cpuinfo") or {}).get("cpus") or 0)
    wanted = int(config.get("cores") or 0)
    if not count or wanted <= count:
        return findings, []
    where = f"the guest {source.side.vmid} at {source.side.machine}"
    return findings, [f"{where} has {wanted} cores, and {target.side.machine} has {count}: it gets fewer there"]


def numbers(text: str) -> list[int]:
    """Return the numbers of a set such as `0,5,8-11`, or `0;2-3` as the NUMA settings write it."""
    found: list[int] = []
    for part in re.split(r"[,;]", text):
        first, dash, last = part.strip().partition("-")
        if first.isdigit() and (last.isdigit() or not dash):
            found += range(int(first), int(last or first) + 1)
    return found


def _counted(where: str, machine: str, count: int, config: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    findings: list[str] = []
    notes: list[str] = []
    wanted = int(config.get("sockets") or 1) * int(config.get("cores") or 1)
    if wanted > count:
        findings.append(
            f"{where} has {wanted} processors (sockets by cores), and {machine} has {count}: Proxmox starts no guest "
            "with more than its node has"
        )
    affinity = str(config.get("affinity") or "")
    bound = numbers(affinity)
    beyond = [number for number in bound if number >= count]
    if bound and len(beyond) == len(bound):
        findings.append(
            f"{where} is bound to the processors {affinity} of its host (affinity), and {machine} has only 0 to "
            f"{count - 1}: it would not start there; bind it to some that both have, or to none"
        )
    elif beyond:
        notes.append(
            f"{where} is bound to the processors {affinity} of its host (affinity); {machine} has only 0 to "
            f"{count - 1}: it runs there on fewer"
        )
    elif bound:
        notes.append(f"{where} is bound to the processors {affinity} of its host (affinity), and so is its copy")
    return findings, notes


def _model(where: str, target: Guest, config: Mapping[str, Any], flags: set[str]) -> list[str]:
    parts = guest_config.options(str(config.get("cpu") or ""))
    model = parts.get("cputype", parts.get("", ""))
    if model in ("", *_OF_THE_HOST) or config.get("arch") or str(config.get("kvm", "1")) == "0":
        return []
    findings: list[str] = []
    rows = preflight.ask(target, findings, f"nodes/{target.side.node}/capabilities/qemu/cpu")
    if rows is None:
        return findings
    known = {str(row.get("name")) for row in rows}
    if model not in known:
        unseen = " (the token sees such models only with Sys.Audit on /nodes)" if model.startswith("custom-") else ""
        return [f"{where} has the CPU type {model}, which {target.side.machine} has not{unseen}"]
    missing = sorted(_FLAGS.get(model, frozenset()) - flags)
    if flags and missing:
        return [
            f"{where} has the CPU type {model}, and the processors of {target.side.machine} lack {', '.join(missing)}: "
            "QEMU would not start it there"
        ]
    return []


def _machine(where: str, target: Guest, config: Mapping[str, Any]) -> list[str]:
    parts = guest_config.options(str(config.get("machine") or ""))
    found = _VERSIONED.match(parts.get("type", parts.get("", "")))
    if not found or config.get("arch"):
        return []
    findings: list[str] = []
    rows = preflight.ask(target, findings, f"nodes/{target.side.node}/capabilities/qemu/machines")
    known = {match[1] for row in rows or [] if (match := _VERSIONED.match(str(row.get("id"))))}
    # Proxmox's revisions of a version (+pve1) are not told apart: a list may name only some.
    if rows is not None and found[1] not in known:
        findings.append(
            f"{where} has the machine type {found[1]}, which {target.side.machine} has not: its QEMU is another version"
        )
    return findings
