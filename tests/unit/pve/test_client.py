"""Bascule's client against the stand-in, over TLS: every failure recorded from Proxmox, by its recording's label."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
from pve.pve_standin import guest_store

from bascule.guest import errors as kinds
from bascule.guest import tasks
from bascule.guest.errors import ProxmoxError, TaskFailed

from .over_tls import FEW, USER, Ask, World, archive, held, locked, path, without_way
from .parts import SCHEMAS, TOKEN

GONE = "UPID:pve1:00000001:00000001:6B0008AA:vzdump:100:root@pam!mig:"
# What comes at once: label of the recording, kind of error, status and reason, errors by parameter.
AT_ONCE: list[tuple[str, type[ProxmoxError], str, dict[str, str], Ask]] = [
    ("badpw", kinds.NotAuthenticated, "401 authentication failure", {}, lambda w: w.api(USER, "no").get("version")),
    (
        "badtoken", kinds.NotAuthenticated, "401 Authentication failed!", {},
        lambda w: w.api(TOKEN, "wrong").get("version"),
    ),
    (
        "nosuchtoken", kinds.NotAuthenticated, "401 Authentication failed!", {},
        lambda w: w.api("bascule@pve!other").get("version"),
    ),
    (
        "403 vzdump", kinds.NotPermitted, "403 Permission check failed (/storage/local, Datastore.AllocateSpace)", {},
        lambda w: w.api(FEW).post(path("vzdump"), vmid=100, storage="local"),
    ),
    (
        "403 start", kinds.NotPermitted, "403 Permission check failed (/vms/100, VM.PowerMgmt)", {},
        lambda w: w.api(FEW).post(path("qemu/100/status/start")),
    ),
    (
        "501", kinds.BadRequest, "501 Method 'GET /nodes/pve1/foo' not implemented", {},
        lambda w: w.api().get(path("foo")),
    ),
    (
        "501b", kinds.BadRequest, "501 Method 'POST /version' not implemented", {},
        lambda w: w.api().post("version"),
    ),
    (
        "bool", kinds.BadRequest, "400 Parameter verification failed.",
        {"onboot": "type check ('boolean') failed - got 'true'"},
        lambda w: w.api().put(path("qemu/200/config"), onboot="true"),
    ),
    (
        "bool yes", kinds.BadRequest, "400 Parameter verification failed.",
        {"onboot": "type check ('boolean') failed - got 'banana'"},
        lambda w: w.api().put(path("qemu/200/config"), onboot="banana"),
    ),
    (
        "badupid", kinds.BadRequest, "400 Parameter verification failed.", {"upid": "unable to parse worker upid"},
        lambda w: w.api().get(path("tasks/UPID:x/status")),
    ),
    (
        "goneupid", kinds.TaskGone, "400 Parameter verification failed.", {"upid": "no such task"},
        lambda w: w.api().get(path(f"tasks/{GONE}/status")),
    ),
    (
        "badstorage", kinds.ApiRefused, "500 storage 'nope' does not exist", {},
        lambda w: w.api().get(path("storage/nope/content")),
    ),
    (
        "node unreachable", kinds.NodeUnreachable, "595 Network is unreachable", {},
        lambda w: without_way(w).get(path("qemu")),
    ),
    (
        "restore exists", kinds.GuestExists,
        "500 unable to restore VM 200 - VM 200 already exists on node 'pve1'", {},
        lambda w: w.api().post(path("qemu"), vmid=200, archive=archive(w), storage="local"),
    ),
    (
        "upload backup", kinds.BadRequest, "400 Parameter verification failed.",
        {"content": "value 'backup' does not have a value in the enumeration 'iso, vztmpl, import'"},
        lambda w: w.api().post(path("storage/local/upload"), content="backup", filename="vzdump-qemu-100.vma"),
    ),
    (
        "put locked", kinds.GuestLocked, "500 VM is locked (backup)", {},
        lambda w: locked(w, 200).put(path("qemu/200/config"), onboot=True),
    ),
    (
        "put lock timeout", kinds.LockTimeout,
        "500 can't lock file '/var/lock/qemu-server/lock-200.conf' - got timeout", {},
        lambda w: held(w, lambda api: api.put(path("qemu/200/config"), onboot=True)),
    ),
]  # fmt: skip


def label_of(value: object) -> str | None:
    return value if isinstance(value, str) and " '" not in value and len(value) < 18 else ""


@pytest.fixture(autouse=True)
def _short_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_store, "LOCK_SECONDS", 0.2)


@pytest.mark.parametrize(("label", "kind", "found", "errors", "ask"), AT_ONCE, ids=label_of)
def test_what_is_refused_at_once(
    world: World, label: str, kind: type[ProxmoxError], found: str, errors: dict[str, str], ask: Ask
) -> None:
    before = {vmid: world.node.store.load(vmid) for vmid in (100, 200)}
    with pytest.raises(kind) as caught:
        ask(world)
    assert type(caught.value).__name__.lstrip("_") in (kind.__name__, "Unsent")
    words = "; ".join(f"{name}: {text}" for name, text in errors.items())
    assert caught.value.found == (f"{found} ({words})" if words else found)
    assert caught.value.state.startswith("nothing was changed")
    after = {vmid: world.node.store.load(vmid) for vmid in (100, 200)}
    for vmid in (100, 200):
        assert {**after[vmid], "lock": "", "digest": ""} == {**before[vmid], "lock": "", "digest": ""}


# What comes in the task, behind a 200: label, exit status, what the client says was found.
NOPE = "storage 'nope' does not exist"
BAD_STORAGE = f"could not activate storage 'nope': {NOPE} could not get storage information for 'nope': {NOPE}"
LOCK_FILE = "can't lock file '/var/lock/qemu-server/lock-200.conf' - got timeout"
IN_THE_TASK: list[tuple[str, str, str, Ask]] = [
    (
        "vzdump nonexist", "job errors", "job errors: Backup of VM 999 failed - unable to find VM '999'",
        lambda w: w.api().post(path("vzdump"), vmid=999, storage="local"),
    ),
    (
        "vzdump multi", "job errors", "job errors: Backup of VM 999 failed - unable to find VM '999'",
        lambda w: w.api().post(path("vzdump"), vmid="200,999", storage="local", mode="stop"),
    ),
    (
        "vzdump badstorage", BAD_STORAGE, BAD_STORAGE,
        lambda w: w.api().post(path("vzdump"), vmid=200, storage="nope"),
    ),
    (
        "start locked", "VM is locked (backup)", "VM is locked (backup)",
        lambda w: locked(w, 200).post(path("qemu/200/status/start")),
    ),
    (
        "vzdump locked", "job errors", "job errors: Backup of VM 200 failed - VM is locked (backup)",
        lambda w: locked(w, 200).post(path("vzdump"), vmid=200, storage="local"),
    ),
    (
        "delete locked", "VM is locked (backup)", "VM is locked (backup)",
        lambda w: locked(w, 200).delete(path("qemu/200")),
    ),
    (
        "start lock timeout", LOCK_FILE, LOCK_FILE,
        lambda w: held(w, lambda api: ended(w, api.post(path("qemu/200/status/start")))),
    ),
]  # fmt: skip


def ended(world: World, upid: str) -> str:
    world.node.tasks.wait(upid)
    return upid


@pytest.mark.parametrize(("label", "exitstatus", "found", "ask"), IN_THE_TASK, ids=label_of)
def test_what_fails_in_its_task(world: World, label: str, exitstatus: str, found: str, ask: Ask) -> None:
    upid = ask(world)
    with pytest.raises(TaskFailed) as caught:
        tasks.wait(world.api(), upid, 60)
    assert (caught.value.exitstatus, caught.value.found) == (exitstatus, found)
    assert world.node.store.exists(200)
    assert (tasks.parse_upid(upid).id == "") == (label == "vzdump multi")


# What the client never sends, or what is no failure: asked beside it.
def no_ticket(world: World) -> tuple[int, str]:
    status, reason, kind, body = world.raw("GET", "version")
    assert (kind, body) == (None, None)
    return status, reason


def malformed_token(world: World) -> tuple[int, str]:
    return world.raw("GET", "version", Authorization="PVEAPIToken=nonsense")[:2]


def bad_ticket(world: World) -> tuple[int, str]:
    return world.raw("GET", "version", Cookie="PVEAuthCookie=PVE:nadia@pve:00000000::forged")[:2]


def csrf(world: World, **headers: str) -> tuple[int, str]:
    ticket = world.node.access.login(USER, "password")["ticket"]
    return world.raw("PUT", path("qemu/100/config"), "onboot=0", Cookie=f"PVEAuthCookie={ticket}", **headers)[:2]


def json_body(world: World, value: str) -> tuple[int, str]:
    headers = {"Authorization": f"PVEAPIToken={TOKEN}=secret", "Content_Type": "application/json"}
    return world.raw("PUT", path("qemu/200/config"), f'{{"onboot": {value}}}', **headers)[:2]


def seen_locked(world: World) -> tuple[int, str]:
    assert locked(world, 200).get(path("qemu/200/status/current"))["lock"] == "backup"
    return 200, "OK"


def resources(world: World) -> tuple[int, str]:
    found = world.api(FEW).get("cluster/resources", type="vm")
    assert [entry["vmid"] for entry in found] == [100, 200]
    return 200, "OK"


def delete_nothing(world: World) -> tuple[int, str]:
    upid = world.api().delete(path("storage/local/content/local:100/vm-100-disk-9.raw"))
    assert tasks.parse_upid(upid).kind == "imgdel"
    assert tasks.wait(world.api(), upid, 60).warnings == 0
    return 200, "OK"


BESIDE: dict[str, tuple[tuple[int, str], Callable[[World], tuple[int, str]]]] = {
    "noauth": ((401, "No ticket"), no_ticket),
    "badticket": ((401, "Authentication failed!"), bad_ticket),
    "nocsrf": ((401, "Permission denied - invalid csrf token"), csrf),
    "badcsrf": (
        (401, "Permission denied - invalid csrf token"), functools.partial(csrf, CSRFPreventionToken="6B0008AA:forged"),
    ),
    "malformedtoken": ((401, "Authentication failed!"), malformed_token),
    "op resources": ((200, "OK"), resources),
    "json body": ((200, "OK"), lambda w: json_body(w, "true")),
    "json body null": (
        (500, "unable to parse value of 'onboot' - got undefined value"), lambda w: json_body(w, "null"),
    ),
    "cur locked": ((200, "OK"), seen_locked),
    "delete nonex vol": ((200, "OK"), delete_nothing),
}  # fmt: skip


@pytest.mark.parametrize("label", BESIDE)
def test_what_is_asked_beside_the_client(world: World, label: str) -> None:
    expected, ask = BESIDE[label]
    assert ask(world) == expected


def test_every_recording_has_a_test_that_expects_what_was_recorded() -> None:
    recorded = SCHEMAS / "captures" / "errors.txt"
    if not recorded.is_file():
        pytest.skip(f"the recordings of Proxmox are not at hand ({recorded}): set BASCULE_PVE_SCHEMAS")
    at_once = {label: found for label, _, found, _, _ in AT_ONCE}
    beside = {label: f"{status} {reason}" for label, ((status, reason), _) in BESIDE.items()}
    in_task = {label: exitstatus for label, exitstatus, _, _ in IN_THE_TASK}
    label, exits = "", {}
    lines = {}
    for line in recorded.read_text().splitlines():
        if not line.startswith(" "):
            label = line[:29].strip()
            status, _, rest = line[29:].partition(" ")
            quote = rest[0]
            lines[label] = f"{status} {rest[1 : rest.index(quote + ' | ', 1)]}"
        elif line.strip().startswith("exitstatus="):
            exits[label] = line.strip().removeprefix("exitstatus=")[1:-1]
    assert set(lines) == set(at_once) | set(beside) | set(in_task)
    assert exits == in_task
    assert {label: lines[label] for label in at_once} == at_once
    assert {label: lines[label] for label in beside} == beside
