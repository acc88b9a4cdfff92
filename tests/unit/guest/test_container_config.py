"""Every line of a container's config is carried, mapped, asked for or refused by name, and so is what manages it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bascule.guest import config_keys, decisions, kinds, observed, prepare, ready, transitions
from bascule.guest.errors import ProxmoxError

from . import fake_containers


@pytest.mark.parametrize(("key", "verdict"), [
    ("rootfs", config_keys.ASKED), ("mp0", config_keys.ASKED), ("mp255", config_keys.ASKED),
    ("net0", config_keys.MAPPED), ("description", config_keys.MAPPED), ("onboot", config_keys.MAPPED),
    ("unused0", config_keys.ASKED), ("dev0", config_keys.ASKED), ("unprivileged", config_keys.ASKED),
    ("features", config_keys.CARRIED), ("hostname", config_keys.CARRIED), ("tags", config_keys.CARRIED),
    ("timezone", config_keys.CARRIED), ("lxc", config_keys.REFUSED), ("env", config_keys.REFUSED),
    ("parent", config_keys.REFUSED), ("scsi0", config_keys.REFUSED), ("agent", config_keys.REFUSED),
    ("quantum0", config_keys.REFUSED),
])  # fmt: skip
def test_what_becomes_of_a_line(key: str, verdict: str) -> None:
    assert config_keys.fate(key, kinds.LXC).verdict == verdict


@pytest.mark.parametrize("version", ["8.4", "9.1"])
def test_every_key_that_proxmox_knows_has_its_row(version: str, schema: Any) -> None:
    if not schema.available(version):
        pytest.skip(f"Proxmox's schema of {version} is not at hand: set BASCULE_PVE_SCHEMAS")
    known = schema.parameters(version, "PUT /nodes/{node}/lxc/{vmid}/config")
    known |= schema.returned(version, "GET /nodes/{node}/lxc/{vmid}/config")
    keys = {name.replace("[n]", "0") for name in known - {"node", "vmid", "delete", "revert"}}
    assert len(keys) > 25
    assert [key for key in sorted(keys) if config_keys.fate(key, kinds.LXC) is config_keys.UNKNOWN] == []


def test_a_container_that_can_be_moved_is_not_refused(containers: Any) -> None:
    found = fake_containers.audited(containers)
    assert found["refusals"] == []
    assert (found["guest"]["kind"], found["guest"]["name"]) == ("container", "courses")
    assert any("a proof boot shows that it starts with its interfaces" in note for note in found["notes"])
    assert not any("guest agent" in note for note in found["notes"])
    assert fake_containers.audited(containers, decisions.DELTA)["refusals"] == []


@pytest.mark.parametrize(("change", "words"), [
    ({"mp1": "/srv/shared,mp=/shared"}, "mp1 (/srv/shared,mp=/shared) ties it to its node"),
    ({"mp1": "/dev/sdb1,mp=/disk"}, "mp1 (/dev/sdb1,mp=/disk) ties it to its node"),
    ({"dev0": "/dev/ttyUSB0"}, "dev0 (/dev/ttyUSB0) ties it to its node"),
    ({"mp1": "local:100/vm-100-disk-2.raw,mp=/cache,size=1G"}, "disk mp1 is in no archive (no backup=1)"),
    ({"mp0": "local:100/vm-100-disk-1.raw,mp=/srv/data,backup=0,size=2G"}, "disk mp0 is in no archive"),
    ({"rootfs": "local:100/vm-100-disk-0.raw"}, "rootfs has no size in the config"),
    ({"lxc": [["lxc.idmap", "u 0 100000 65536"]]}, "lxc: lines for LXC itself, such as maps of ids"),
    ({"env": "SECRET=hunter2"}, "env: only Proxmox VE 9.1 knows it"),
    ({"unused0": "local:100/vm-100-disk-9.raw"}, "has a detached disk unused0"),
    ({"hookscript": "local:snippets/hook.pl"}, "hookscript is local:snippets/hook.pl, which pve-tls has not"),
    ({"template": 1}, "is a template"),
    ({"lock": "backup"}, "is locked (backup)"),
    ({"parent": "before"}, "has snapshots (before)"),
    ({"quantum0": "entangled"}, "quantum0: Bascule does not know this setting"),
])  # fmt: skip
def test_what_no_copy_would_bring_along_is_refused_by_name(containers: Any, change: dict[str, Any], words: str) -> None:
    here, *_ = containers
    here.guests[100] |= change
    found = fake_containers.audited(containers)["refusals"]
    assert [line for line in found if words in line], found
    assert "hunter2" not in "".join(found)


def test_what_manages_it_beside_bascule_is_refused(containers: Any) -> None:
    here, *_ = containers
    here.in_ha.add(100)
    here.replication.append({"id": "100-0", "guest": 100})
    here.pending.append({"key": "memory", "pending": "512"})
    found = "\n".join(fake_containers.audited(containers)["refusals"])
    assert "is managed by Proxmox HA" in found
    assert "is replicated by the job 100-0" in found
    assert "changes that wait for its next start (memory)" in found


@pytest.mark.parametrize("way", [decisions.WARM, decisions.REMOTE])
def test_ways_that_are_none_for_a_container(copied: Any, way: str) -> None:
    here, there, source, target = copied
    found = fake_containers.audited(copied, way, stateless=True)["refusals"]
    refused = [line for line in found if "which is not moved by" in line]
    assert refused[0].startswith(f"the guest 100 at pve-mtp is a container, which is not moved by {way}: ")
    left, entered = observed.look_at_both(source, target)
    assert refused[0] in ready.ready(source, target, left, entered, way)["refusals"]
    with pytest.raises(ProxmoxError, match="a way by which a container is moved: archive or delta"):
        decisions.must_fit(left, way)
    with pytest.raises(ProxmoxError, match="a way by which a container is moved: archive or delta"):
        decisions.sync_todo(left, entered, way)
    assert here.written() == there.written() == []


def test_blocks_are_refused_where_a_storage_makes_directories(containers: Any) -> None:
    _here, there, _source, target = containers
    there.storages["local-zfs"] = "zfspool"
    target.side = replace(target.side, storage="local-zfs", backup_storage="local")
    found = fake_containers.audited(containers, decisions.DELTA)["refusals"]
    assert any("on which a container's volumes are directories without blocks: use way archive" in w for w in found)
    assert fake_containers.audited(containers)["refusals"] == []


def test_one_storage_takes_all_volumes_of_a_container(containers: Any) -> None:
    here, there, source, target = containers
    for node in (here, there):
        node.storages["fast"] = "lvmthin"
    here.guests[100]["mp0"] = "fast:vm-100-disk-1,mp=/srv/data,backup=1,size=2G"
    for side in (source, target):
        side.side = replace(side.side, storages={"fast": "fast"})
    found = fake_containers.audited(containers)["refusals"]
    assert any("a restore puts all volumes of a container onto one: name one" in words for words in found)


def test_a_privileged_container_needs_what_proxmox_asks_for(containers: Any) -> None:
    here, there, *_ = containers
    here.guests[100].pop("unprivileged")
    found = fake_containers.audited(containers)["refusals"]
    assert "pve-tls: the token lacks Sys.Modify on /" in found
    for node in (here, there):
        node.privileges.add("Sys.Modify")
    assert fake_containers.audited(containers)["refusals"] == []


def test_a_container_needs_no_rights_on_an_agent(containers: Any) -> None:
    for node in containers[:2]:
        node.withdrawn |= {"VM.Monitor", "VM.Config.CDROM", "VM.Config.Cloudinit", "VM.Config.HWType"}
    assert fake_containers.audited(containers)["refusals"] == []


def test_what_its_node_leaves_out_of_archives_is_refused(copied: Any) -> None:
    here, _, source, target = copied
    here.excluded = ["/srv/data/cache"]
    words = "pve-mtp leaves /srv/data/cache out of every archive"
    assert any(words in line for line in fake_containers.audited(copied)["refusals"])
    views = observed.look_at_both(source, target)
    assert any(words in line for line in ready.ready(source, target, *views, decisions.ARCHIVE)["refusals"])


def test_its_addresses_are_declared_with_its_interfaces(containers: Any) -> None:
    here, there, source, target = containers
    target.side = replace(target.side, cards={"net0": {"tag": "20", "ip": "203.0.113.10/24", "gw": "203.0.113.1"}})
    prepare.adopt(source)
    archive = prepare.back_up(source)["archive"]
    there.archives = [dict(row) for row in here.archives]
    prepare.restore(target, source, archive["volid"], began=True)
    made = there.guests[100]["net0"].split(",")
    assert {"ip=203.0.113.10/24", "gw=203.0.113.1", "tag=20", "link_down=1", "hwaddr=BC:24:11:03:07:C1"} <= set(made)
    assert "ip=198.51.100.10/24" not in made
    # And back: the side that is entered has its own again.
    home = observed.look(source).to_dict()["home"]
    there.guests[100] |= {"onboot": 1}
    transitions.freeze(source, force=False)
    fake_containers.switch(source, target)
    transitions.freeze(target, force=False)
    archive = prepare.back_up(target, mark="stamp")["archive"]
    here.archives += [dict(row) for row in there.archives if row not in here.archives]
    prepare.restore(source, target, archive["volid"], began=True, replace=True, home=home)
    back = here.guests[100]["net0"].split(",")
    assert {"ip=198.51.100.10/24", "gw=198.51.100.1"} <= set(back)
    assert not [part for part in back if part.startswith("tag=")]


@pytest.mark.parametrize(
    ("declared", "named"),
    [
        ({"ip": "198.51.100.10/24", "gw": "198.51.100.1"}, ""),
        ({"ip": "198.51.100.77/24"}, "ip 198.51.100.77/24 is declared for net0 at pve-mtp, and the guest 100"),
        ({"gw6": "fd00::1"}, "gw6 fd00::1 is declared for net0 at pve-mtp, and the guest 100 at pve-mtp has none"),
    ],
)
def test_the_audit_holds_declared_addresses_against_what_it_has(
    containers: Any, declared: dict[str, str], named: str
) -> None:
    """Of the side that is left: what a return would put there is what is there; the other side's are its own."""
    *_, source, target = containers
    source.side = replace(source.side, cards={"net0": declared})
    target.side = replace(target.side, cards={"net0": {"ip": "203.0.113.10/24", "gw": "203.0.113.1"}})
    found = fake_containers.audited(containers)["refusals"]
    assert [line for line in found if "declared" in line and named in line] == found
    assert bool(found) is bool(named)


def test_an_address_of_a_virtual_machine_is_refused_for_a_container(containers: Any) -> None:
    *_, target = containers
    target.side = replace(target.side, overrides={"ipconfig0": "ip=203.0.113.10/24"})
    found = fake_containers.audited(containers)["refusals"]
    assert any("ipconfig0 is declared" in words and "declare them in nets" in words for words in found)


def test_an_address_of_a_container_is_refused_for_a_virtual_machine(nodes: Any) -> None:
    *_, target = nodes
    assert not any("declared in nets" in words for words in fake_containers.audited(nodes)["refusals"])
    target.side = replace(target.side, cards={"net0": {"ip": "203.0.113.10/24"}, "net1": {"bridge": "vmbr1"}})
    found = fake_containers.audited(nodes)["refusals"]
    assert [words for words in found if "addresses are declared in nets for net0" in words]


def test_addresses_that_others_have_there_are_named(containers: Any) -> None:
    _here, there, _source, target = containers
    there.guests[7000] = {**fake_containers.CONFIG, "hostname": "mail"}
    there.containers.add(7000)
    found = fake_containers.audited(containers)["refusals"]
    assert "the container 7000 'mail' at pve-tls has the hardware address BC:24:11:03:07:C1" in found
    assert "the container 7000 'mail' at pve-tls has the address 198.51.100.10" in found
    there.guests[7000]["net0"] = "name=eth0,bridge=vmbr0,hwaddr=BC:24:11:00:00:01,ip=203.0.113.10/24,type=veth"
    assert fake_containers.audited(containers)["refusals"] == []
    target.side = replace(target.side, cards={"net0": {"ip": "203.0.113.10/24"}})
    found = fake_containers.audited(containers)["refusals"]
    assert "the container 7000 'mail' at pve-tls has the address 203.0.113.10" in found


def test_a_copy_whose_blocks_are_all_others_is_forecast_so(containers: Any) -> None:
    first = fake_containers.audited(containers, decisions.DELTA)["forecast"]
    used = 2 << 20
    assert first["ways"][decisions.DELTA]["bytes"] == used
    assert any("restored into a file system of its own" in said for said in first["assumed"])
    again = fake_containers.audited(containers, decisions.DELTA, measured={"changed": 4096})["forecast"]
    assert again["ways"][decisions.DELTA]["bytes"] == 4096
