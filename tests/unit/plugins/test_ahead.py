"""What the window sends is packed before it, and taken from there when it is sent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants, context
from ansible.executor import module_common
from ansible.plugins.loader import action_loader, init_plugin_loader, module_loader, module_utils_loader

from bascule.plugin import ahead
from bascule.run import order

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def loaders() -> None:
    """Have Ansible find the tree's modules."""
    init_plugin_loader([])
    module_loader.add_directory(str(ROOT / "plugins/modules"))
    module_utils_loader.add_directory(str(ROOT / "python_helpers"))


@pytest.mark.parametrize(
    ("role", "sent", "not_sent"),
    [
        (
            "postgresql_replication",
            {"state", "freeze", "probe", "catchup", "follow", "dump"},
            {"seed", "publish", "equality", "switch"},
        ),
        ("rsync_delta_sync", {"state", "freeze", "close", "open", "job", "receive"}, {"setup", "keys", "retire"}),
        ("web_entrance", {"mode", "probe", "close", "open"}, {"info"}),
        ("vpn_switchover", {"mode", "probe", "close", "open"}, {"info", "reach"}),
        ("firewall", {"switch", "rules"}, {"probe"}),
        ("proxmox_guest", {"disk_digest", "note", "archive", "pull", "backup_hold"}, {"console"}),
    ],
)
def test_a_window_sends_what_its_verbs_name(role: str, sent: set[str], not_sent: set[str]) -> None:
    kinds = {"rsync_delta_sync": "filetree", "web_entrance": "entrance", "proxmox_guest": "guest"}
    kind = {**kinds, "vpn_switchover": "vpn", "firewall": "firewall"}.get(role, "postgresql")
    found = set(ahead.modules_of(ROOT / "roles" / role / "tasks", order.VERBS))
    assert {f"bascule_{kind}_{name}" for name in sent} <= found
    assert not {f"bascule_{kind}_{name}" for name in not_sent} & found


def test_what_sends_nothing_has_nothing_to_build() -> None:
    assert ahead.modules_of(ROOT / "roles/dns_switchover/tasks", order.VERBS) == []
    assert ahead.modules_of(ROOT / "roles/nowhere/tasks", order.VERBS) == []


def test_what_was_built_ahead_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    packed: list[str] = []
    real = module_common.recursive_finder

    def pack(name: str, *rest: Any) -> Any:
        packed.append(name)
        return real(name, *rest)

    monkeypatch.setattr(module_common, "recursive_finder", pack)
    ahead.build(["bascule_guest_note"])
    ahead.build(["bascule_guest_note"])
    assert packed == ["bascule_guest_note"]


def test_what_cannot_be_built_ahead_holds_up_no_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of Ansible may pack its modules otherwise."""

    def other(modules: Any) -> None:
        raise TypeError("modify_module() got an unexpected keyword argument")

    monkeypatch.setattr(ahead, "build", other)
    action: Any = object.__new__(action_loader.get("bascule_ready", class_only=True))
    monkeypatch.setattr(context, "CLIARGS", {"forks": 1})
    about = {"component_role": "web_entrance"}
    scope = SimpleNamespace(get=about.get, in_play=["entrance"], hostvars={"entrance": about})
    done = action.act({}, scope)
    assert done["modules"] == []
    assert "unexpected keyword" in done["not_built"]
