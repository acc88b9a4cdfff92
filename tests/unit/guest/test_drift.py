"""What was changed in a guest since its copy was made is named while it serves, and the advice then works."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.guard.state import Epoch, Receipt
from bascule.guest import decisions, drift, observed, prepare, ready, transitions
from bascule.guest.errors import ProxmoxError

GROWN = {"scsi0": "local:100/vm-100-disk-0.raw,size=2G"}
CONFIGS = st.dictionaries(
    st.sampled_from(["memory", "cores", "boot", "bios", "name", "net0", "net1", "scsi0", "onboot", "description"]),
    st.sampled_from(["1", "0", "virtio=BC:24:11:03:07:C1,bridge=vmbr0", "local:1/a.raw,size=1G", "x=y"]),
)


def _ready(source: Any, target: Any, way: str = decisions.DELTA) -> dict[str, Any]:
    return ready.ready(source, target, *observed.look_at_both(source, target), way)


def _switch(source: Any, target: Any, epoch: Epoch) -> None:
    disks = {"disk:scsi0": "tree-sha256:1111"}
    transitions.freeze(source, force=False)
    transitions.close_begin(source, epoch, force=False)
    receipt = Receipt.from_dict(transitions.close_finish(source, epoch, disks, "2026-11-20T09:00:00Z")["receipt"])
    transitions.open_side(target, epoch, receipt, True, onboot=True, leads=False)


@given(CONFIGS, CONFIGS)
def test_a_guest_never_differs_from_itself_and_the_word_of_an_archive_says_the_same(one: Any, other: Any) -> None:
    def differ(a: Any, b: Any) -> list[str]:
        return [
            *drift.differences(drift.disks(a), drift.disks(b), "a", "b"),
            *drift.differences(drift.settings(a), drift.settings(b), "a", "b"),
        ]

    assert differ(one, one) == []
    assert bool(differ(one, other)) is bool(differ(other, one))
    assert (drift.fingerprint(one) == drift.fingerprint(other)) is (differ(one, other) == [])
    assert drift.fingerprint(one) == drift.fingerprint({**one, "description": "x", "digest": "y", "lock": "backup"})


def test_a_fresh_copy_differs_in_nothing_there_and_back(prepared: Any) -> None:
    _, there, source, target = prepared
    target.side = replace(target.side, bridge="vmbr9", tag="40", overrides={"ipconfig0": "ip=198.51.100.10/24"})
    there.guests[100] |= {
        "ipconfig0": "ip=198.51.100.10/24", "net0": "virtio=BC:24:11:03:07:C1,tag=40,link_down=1,bridge=vmbr9",
        "vmgenid": "other", "scsi0": "local:100/vm-100-disk-3.raw,size=1024M", "numa": 0,
    }  # fmt: skip
    nothing = {"changed": False, "asked": True, "refusals": [], "differences": []}
    assert _ready(source, target) == nothing
    _switch(source, target, Epoch(1, "aaaa"))
    assert _ready(source, target) == {**nothing, "asked": False}
    _switch(target, source, Epoch(2, "bbbb"))
    assert _ready(source, target) == nothing
    assert _ready(source, target, decisions.WARM) == nothing


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"memory": "16384"}, "memory (16384 at pve-mtp, 256 at pve-tls)"),
        ({"net1": "virtio=BC:24:11:03:07:C9,bridge=vmbr1"}, "net1 (virtio=BC:24:11:03:07:C9 at pve-mtp, none at"),
        ({"net0": "virtio=BC:24:11:03:07:C8,bridge=vmbr0"}, "net0 (virtio=BC:24:11:03:07:C8 at pve-mtp, virtio=BC:24:"),
        ({"boot": "order=net0"}, "boot (order=net0 at pve-mtp, order=scsi0;net0 at pve-tls)"),
        ({"bios": "ovmf"}, "bios (ovmf at pve-mtp, none at pve-tls)"),
        ({"ciuser": "nadia"}, "ciuser (nadia at pve-mtp, none at pve-tls)"),
        ({"ipconfig0": "ip=203.0.113.11/24"}, "ipconfig0 (ip=203.0.113.11/24 at pve-mtp, none at pve-tls)"),
        ({"scsi0": "local:100/vm-100-disk-0.raw,size=1G,cache=unsafe"}, "options of scsi0 (cache=unsafe at pve-mtp"),
        ({"cipassword": "**********"}, "cipassword"),
    ],
)  # fmt: skip
def test_what_would_be_lost_is_named(prepared: Any, changed: Any, said: str) -> None:
    here, there, source, target = prepared
    here.guests[100] |= changed
    found = _ready(source, target)
    assert found["refusals"] == []
    (line,) = found["differences"]
    assert line.startswith(said)
    assert _ready(source, target, decisions.ARCHIVE)["differences"] == [], "the archive of the window brings it along"
    assert here.written() == there.written() == []


@pytest.mark.parametrize("way", [decisions.DELTA, decisions.WARM])
@pytest.mark.parametrize("changed", [GROWN, {"scsi1": "local:100/vm-100-disk-1.raw,size=2G"}])
def test_a_disk_that_grew_or_came_is_refused_while_the_guest_serves_and_the_advice_works(
    prepared: Any, way: str, changed: Any
) -> None:
    here, there, source, target = prepared
    here.guests[100] |= changed
    name = next(iter(changed))
    (line,) = _ready(source, target, way)["refusals"]
    assert line.startswith(f"disk {name} (2147483648 bytes at pve-mtp, ")
    assert "remove the guest 100 at pve-tls ('qm destroy 100' there), then ansible-playbook playbooks/20_prep" in line
    assert 100 in here.running
    assert here.written() == there.written() == []
    # As advised: an archive of what the guest was is not restored again.
    del there.guests[100]
    made = prepare.back_up(source)
    assert made["changed"] is True
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, made["archive"]["volid"], began=True)
    assert _ready(source, target, way)["refusals"] == []
    assert prepare.back_up(source)["changed"] is False


def test_what_no_archive_has_is_refused_before_the_window_too(prepared: Any) -> None:
    here, _there, source, target = prepared
    here.guests[100] |= {"unused0": "local:100/vm-100-disk-7.raw"}
    found = _ready(source, target, decisions.ARCHIVE)["refusals"]
    assert [line.partition(":")[0] for line in found] == [
        "the guest 100 at pve-mtp has a detached disk unused0 (local",
    ]


def test_nothing_is_compared_where_there_is_no_copy(nodes: Any) -> None:
    _, there, source, target = nodes
    prepare.adopt(source)
    there.guests[100] = {"name": "mail", "memory": "1"}
    assert _ready(source, target) == {"changed": False, "asked": True, "refusals": [], "differences": []}


def test_an_interrupted_first_prepare_does_not_take_an_archive_of_another_guest(nodes: Any) -> None:
    here, there, source, target = nodes
    prepare.adopt(source)
    old = prepare.back_up(source)["archive"]
    here.guests[100] |= GROWN
    there.archives = [dict(row) for row in here.archives]
    with pytest.raises(ProxmoxError, match=r"found: disk scsi0 \(2147483648 bytes"):
        prepare.restore(target, source, old["volid"], began=True)
    assert prepare.back_up(source)["archive"]["volid"] != old["volid"]
