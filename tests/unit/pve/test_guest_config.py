"""The configuration file: Proxmox's syntax, and a digest that changes with every change."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pve.pve_standin import cloudinit, guest_config, params
from pve.pve_standin.errors import ApiError

RECORDED = """\
agent: 1
boot: order=scsi0;net0
memory: 256
meta: creation-qemu=9.2.0,ctime=1795163750
name: vm1
net0: virtio=BC:24:11:03:07:C1,bridge=vmbr0,tag=20
scsi0: local:100/vm-100-disk-0.raw,size=1G
scsihw: virtio-scsi-pci
smbios1: uuid=2080c067-ddff-455f-b6e6-caf4ab5b3010
vmgenid: 4bb9a9b8-34a9-41e8-9089-da7421552fa7
"""
LINES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters="%"), max_size=30)


def test_recorded_text_survives() -> None:
    config = guest_config.parse(RECORDED)
    assert config["net0"] == "virtio=BC:24:11:03:07:C1,bridge=vmbr0,tag=20"
    assert guest_config.render(config) == RECORDED
    assert guest_config.digest(RECORDED) == hashlib.sha1(RECORDED.encode(), usedforsecurity=False).hexdigest()


@given(description=st.lists(LINES, min_size=1, max_size=4).map("\n".join))
def test_descriptions_survive(description: str) -> None:
    kept = description.rstrip()
    text = guest_config.render({"memory": "128", "description": kept})
    assert guest_config.parse(text).get("description", "") == kept
    assert all(line.startswith("#") or line == "memory: 128" for line in text.splitlines())


def test_description_is_escaped_as_proxmox_does() -> None:
    text = guest_config.render({"description": 'bascule: {"a": 1}\né'})
    assert text == '#bascule%3A {"a"%3A 1}\n#%C3%A9\n'


def test_snapshot_sections_are_not_the_current_configuration() -> None:
    assert guest_config.parse("memory: 128\n\n[before]\nmemory: 64\n") == {"memory": "128"}


def test_network_cards() -> None:
    card = guest_config.parse_net("virtio=BC:24:11:03:07:C1,bridge=vmbr0,link_down=1")
    assert card == {"model": "virtio", "macaddr": "BC:24:11:03:07:C1", "bridge": "vmbr0", "link_down": "1"}
    assert guest_config.render_net(card) == "virtio=BC:24:11:03:07:C1,bridge=vmbr0,link_down=1"
    assert guest_config.parse_net("virtio,bridge=vmbr0") == {"model": "virtio", "bridge": "vmbr0"}


@pytest.mark.parametrize(("size", "text"), [(1 << 30, "1G"), (3 << 29, "1536M"), (1 << 10, "1K"), (5, "5"), (0, "0")])
def test_sizes(size: int, text: str) -> None:
    assert guest_config.format_size(size) == text
    assert guest_config.parse_size(text) == size


def test_a_cloud_init_drive_is_no_disk() -> None:
    config = guest_config.parse("ide2: local:100/vm-100-cloudinit.raw,media=cdrom\nscsi0: local:100/d.raw,size=1G\n")
    assert list(guest_config.disks(config)) == ["scsi0"]
    assert cloudinit.is_drive(guest_config.drives(config)["ide2"])


def test_cloud_init_texts() -> None:
    text = cloudinit.network_config(
        {
            "net0": "virtio=BC:24:11:03:07:C1,bridge=vmbr0", "ipconfig0": "ip=198.18.1.100/24,gw=198.18.1.1",
            "nameserver": "198.18.1.53", "searchdomain": "mtp.techcorp.test",
        }
    )  # fmt: skip
    assert text.splitlines() == [
        "version: 1",
        "config:",
        "    - type: physical",
        "      name: eth0",
        "      mac_address: 'bc:24:11:03:07:c1'",
        "      subnets:",
        "      - type: static",
        "        address: '198.18.1.100'",
        "        netmask: '255.255.255.0'",
        "        gateway: '198.18.1.1'",
        "    - type: nameserver",
        "      address:",
        "      - '198.18.1.53'",
        "      search:",
        "      - 'mtp.techcorp.test'",
    ]


def refusal(given_values: dict[str, object]) -> dict[str, str]:
    with pytest.raises(ApiError) as caught:
        params.verify(params.GUEST, given_values)
    assert (caught.value.status, caught.value.reason) == (400, "Parameter verification failed.")
    return caught.value.errors or {}


def test_wrong_parameters_are_named_in_proxmox_words() -> None:
    unknown = "property is not defined in schema and the schema does not allow additional properties"
    assert refusal({"onboot": "true"}) == {"onboot": "type check ('boolean') failed - got 'true'"}
    assert refusal({"onboot": "banana"}) == {"onboot": "type check ('boolean') failed - got 'banana'"}
    assert refusal({"cores": "x", "foo": "1"}) == {"cores": "type check ('integer') failed - got 'x'", "foo": unknown}
    assert refusal({"net32": "virtio"}) == {"net32": unknown}
    assert unknown in refusal({"net0": "virtio,bridge=vmbr0,colour=red"})["net0"]
    assert refusal({"bios": "x"}) == {"bios": "value 'x' does not have a value in the enumeration 'seabios, ovmf'"}


def test_values_become_what_the_api_shows() -> None:
    assert params.verify(params.GUEST, {"onboot": True, "memory": "256"}) == {"onboot": 1, "memory": "256"}
    shown = {key: params.shown(key, "1") for key in ("onboot", "agent", "cores", "name")}
    assert shown == {"onboot": 1, "agent": "1", "cores": 1, "name": "1"}
    with pytest.raises(ApiError, match="unable to parse value of 'onboot' - got undefined value"):
        params.verify(params.GUEST, {"onboot": None})
