"""What a guest's processors need of the other node is named before the evening."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.guest import audit, decisions, observed, processors

EIGHT = {"cpus": 8, "flags": "fpu pni ssse3 sse4_1 sse4_2 popcnt aes"}
V3 = f"{EIGHT['flags']} avx avx2 bmi1 bmi2 f16c fma abm movbe"


def _told(nodes: Any, config: dict[str, Any], **cpuinfo: Any) -> tuple[list[str], list[str]]:
    """What the audit says more of a guest with these lines."""
    here, there, source, target = nodes
    there.cpuinfo = {**EIGHT, **cpuinfo}
    said = []
    for lines in ({}, config):
        here.guests[100] |= lines
        found = audit.audit(source, target, *observed.look_at_both(source, target), decisions.DELTA)
        said.append(found)
    before, after = said

    def more(key: str) -> list[str]:
        return [text for text in after[key] if text not in before[key]]

    return more("refusals"), more("notes")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"sockets": 2, "cores": 8},
            "has 16 processors (sockets by cores), and pve-tls has 8: Proxmox starts",
        ),
        (
            {"affinity": "8,10-11"},
            "bound to the processors 8,10-11 of its host (affinity), and pve-tls has only 0 to 7",
        ),
        ({"cpu": "custom-lab"}, "the CPU type custom-lab, which pve-tls has not (the token sees such models only with"),
        ({"cpu": "cputype=EPYC-Genoa,flags=+aes"}, "the CPU type EPYC-Genoa, which pve-tls has not"),
        ({"cpu": "x86-64-v3"}, "lack abm, avx, avx2, bmi1, bmi2, f16c, fma, movbe: QEMU would not start it there"),
        ({"machine": "pc-q35-9.2+pve1"}, "the machine type pc-q35-9.2, which pve-tls has not"),
        ({"machine": "type=pc-i440fx-9.2,viommu=virtio"}, "the machine type pc-i440fx-9.2, which pve-tls has not"),
    ],
)
def test_what_the_other_node_has_not_is_refused_by_name(nodes: Any, config: dict[str, Any], words: str) -> None:
    (line,), notes = _told(nodes, config)
    assert line.startswith("the guest 100 at pve-mtp")
    assert words in line
    assert notes == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"affinity": "6-9"}, "pve-tls has only 0 to 7: it runs there on fewer"),
        ({"affinity": "0,5"}, "(affinity), and so is its copy"),
        (
            {"numa0": "cpus=0-1,hostnodes=0-1,memory=128"},
            "numa0 is bound to the NUMA nodes 0-1 of its host, and no API",
        ),
    ],
)
def test_what_nobody_can_tell_or_what_only_slows_is_noted(nodes: Any, config: dict[str, Any], words: str) -> None:
    refusals, (note,) = _told(nodes, config)
    assert refusals == []
    assert words in note


@pytest.mark.parametrize(
    "config",
    [
        {"sockets": 1, "cores": 8, "vcpus": 4},
        {"cpu": "x86-64-v3", "cpuinfo": {"flags": V3}},
        {"cpu": "x86-64-v3", "cpuinfo": {"flags": ""}},
        {"cpu": "x86-64-v3", "kvm": 0},
        {"cpu": "host"},
        {"cpu": "kvm64"},
        {"machine": "q35"},
        {"machine": "pc-q35-9.0+pve1"},
        {"numa0": "cpus=0-1,hostnodes=0,memory=128", "numa": 1},
    ],
)
def test_what_it_has_is_not_told(nodes: Any, config: dict[str, Any]) -> None:
    cpuinfo = config.pop("cpuinfo", {})
    assert _told(nodes, config, **cpuinfo) == ([], [])


def test_a_node_that_does_not_say_how_many_it_has_is_not_guessed_at(nodes: Any) -> None:
    assert _told(nodes, {"cores": 64, "affinity": "60"}, cpus=None) == ([], [])


def test_sets_of_numbers() -> None:
    assert processors.numbers("0,5,8-11") == [0, 5, 8, 9, 10, 11]
    assert processors.numbers("0;2-3") == [0, 2, 3]
    assert processors.numbers("") == []
