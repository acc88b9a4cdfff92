"""Bascule's client against the stand-in, over TLS: every failure recorded from Proxmox, by its recording's label."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bascule_lab import credentials
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pve.pve_standin import __main__ as daemon
from pve.pve_standin import access, guest_store, server
from pve.pve_standin.node import Node
from pve.pve_standin.paths import Paths

from bascule.io import proxmox_api
from bascule.proxmox import errors as kinds
from bascule.proxmox import leftovers, prepare, tasks
from bascule.proxmox.api import Api
from bascule.proxmox.errors import ProxmoxError, TaskFailed
from bascule.proxmox.guest import Guest, Side

from .conftest import SCHEMAS, TOKEN, add_guest, need_zstd

NODE = "nodes/pve1"
FEW = "bascule@pve!few"
USER = "nadia@pve"
GOOD = "secret"


@dataclass
class World:
    """A node that answers over TLS, and ways to ask it."""

    node: Node
    port: int
    directory: Path

    def transport(self, token: str = TOKEN, secret: str = GOOD, pin: str | None = None) -> Any:
        ca = str(self.directory / "ca.crt") if pin is None else ""
        return proxmox_api.connect("127.0.0.1", self.port, token, secret, ca, 10, pin or "")

    def api(self, token: str = TOKEN, secret: str = GOOD, pin: str | None = None) -> Api:
        return Api(self.transport(token, secret, pin), "pve1", sleep=lambda seconds: None, attempts=2)

    @property
    def fingerprint(self) -> str:
        certificate = x509.load_pem_x509_certificate((self.directory / "hosts/pve1.crt").read_bytes())
        digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
        return ":".join(digest[place : place + 2] for place in range(0, 64, 2))

    def raw(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str, str | None, Any]:
        """What the client would never send."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request(method, f"/api2/json/{path}", body, given)
        reply = connection.getresponse()
        content = reply.read()
        connection.close()
        return reply.status, reply.reason, reply.getheader("Content-Type"), json.loads(content) if content else None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    (directory / "hosts").mkdir()
    credentials.make_authority(directory)
    credentials.make_certificate(directory, "pve1", ["127.0.0.1"])
    return directory


@pytest.fixture(params=["8.4", "9.1"])
def world(request: pytest.FixtureRequest, tmp_path: Path, certificates: Path) -> Iterator[World]:
    node = Node("pve1", Paths(tmp_path), request.param, SCHEMAS)
    node.paths.tokens.write_text(f"{TOKEN} secret\n{FEW} secret\n")
    node.paths.users.write_text(f"{USER} password\n")
    few = {"/": ["VM.Audit"], "/vms": ["VM.Audit", "VM.Backup"]}
    node.paths.privileges.write_text(json.dumps({FEW: few}))
    for vmid in (100, 200):
        add_guest(node, vmid)
    hosts = certificates / "hosts"
    running = server.make(node, ("127.0.0.1", 0), hosts / "pve1.crt", hosts / "pve1.key")
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield World(node, running.server_port, certificates)
    running.shutdown()
    thread.join()
    running.server_close()


Ask = Callable[[World], Any]


def path(text: str) -> str:
    return f"{NODE}/{text}"


def locked(world: World, vmid: int) -> Api:
    world.node.store.change(vmid, lock="backup")
    return world.api()


def without_way(world: World) -> Api:
    world.node.faults.order({"fault": "api_down", "status": 595, "count": 2})
    return world.api()


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


def archive(world: World) -> str:
    """Make one, and return its name."""
    need_zstd()
    api = world.api()
    tasks.wait(api, api.post(path("vzdump"), vmid=100, storage="local", compress="zstd"), 60)
    (found,) = api.get(path("storage/local/content"), content="backup")
    return str(found["volid"])


def held(world: World, ask: Callable[[Api], Any]) -> Any:
    """Ask while somebody holds the lock file of guest 200."""
    with (world.node.paths.locks / "lock-200.conf").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return ask(world.api())


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


# ---- the connection itself


def test_a_pinned_certificate(world: World) -> None:
    assert world.api(pin=world.fingerprint).version() in ("8.4.21", "9.1.3")
    other = world.fingerprint.replace(world.fingerprint[0], "0" if world.fingerprint[0] != "0" else "1", 1)
    with pytest.raises(ProxmoxError, match=rf"a certificate of 127\.0\.0\.1 with the fingerprint {other}.*nothing was"):
        world.api(pin=other).version()
    with pytest.raises(ProxmoxError, match="SHA-256 fingerprint of a certificate"):
        world.api(pin="AA:BB")


def test_an_unknown_authority_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "other/hosts").mkdir(parents=True)
    credentials.make_authority(tmp_path / "other")
    with pytest.raises(ProxmoxError, match="a signature by the given CA; found: SSLError"):
        World(world.node, world.port, tmp_path / "other").api().version()


def test_a_ticket_is_renewed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """By age before it runs out, and when it is refused: a run may pause for longer than a ticket lives."""
    api = world.api(USER, "password")
    logins: list[str] = []
    log_in = world.node.access.login

    def counted(name: str, password: str) -> dict[str, Any]:
        logins.append(name)
        return log_in(name, password)

    monkeypatch.setattr(world.node.access, "login", counted)
    api.put(path("qemu/100/config"), onboot=False)
    api.put(path("qemu/100/config"), onboot=True)
    assert logins == [USER]
    monkeypatch.setattr(access, "TICKET_SECONDS", -1)
    with pytest.raises(kinds.NotAuthenticated, match="401 Authentication failed!"):
        api.get("version")
    assert len(logins) == 2, "once again, not endlessly"
    monkeypatch.setattr(access, "TICKET_SECONDS", 7200)
    assert api.get("version")["release"] == world.node.version
    monkeypatch.setattr(proxmox_api, "_RENEW_SECONDS", 0)
    api.put(path("qemu/100/config"), onboot=False)
    assert len(logins) > 3
    assert world.node.store.load(100)["onboot"] == "0"


def test_what_a_version_does_not_take_never_reaches_it(world: World) -> None:
    ask = functools.partial(world.api().post, path("vzdump"), vmid=999, storage="local", notification_policy="never")
    if world.node.version == "9.1":
        with pytest.raises(kinds.BadRequest, match="nothing was sent"):
            ask()
        assert world.node.tasks.listed("all") == []
    else:
        assert tasks.parse_upid(ask()).kind == "vzdump"


def test_a_node_that_hangs_up_is_no_answer(world: World) -> None:
    world.node.faults.order({"fault": "api_down", "count": 1})
    with pytest.raises(kinds.NodeUnreachable, match=r"unknown: the request may have been carried out"):
        world.api().put(path("qemu/100/config"), onboot=False)
    world.node.faults.order({"fault": "api_down", "count": 1})
    assert world.api().get("version")["release"] == world.node.version, "reading is repeated"


def test_an_empty_success_is_no_success(world: World) -> None:
    world.node.faults.order({"fault": "api_down", "status": 200, "count": 1})
    with pytest.raises(kinds.NodeUnreachable, match="an answer that is no JSON"):
        world.api().post(path("qemu/100/status/stop"))


def test_a_second_backup_and_a_stopped_one(world: World) -> None:
    """From the recordings beside `errors.txt`: one backup at a time, and a task that is told to stop."""
    with world.node.paths.vzdump_lock.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        upid = world.api().post(path("vzdump"), vmid=200, storage="local", lockwait=0)
        with pytest.raises(TaskFailed) as caught:
            tasks.wait(world.api(), upid, 60)
        assert caught.value.found == "unexpected status: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"
        waiting = world.api().post(path("vzdump"), vmid=200, storage="local")
        world.api().delete(path(f"tasks/{waiting}"))
        with pytest.raises(TaskFailed) as caught:
            tasks.wait(world.api(), waiting, 60)
    assert caught.value.exitstatus == "interrupted by signal"


def test_a_full_storage_and_warnings(world: World) -> None:
    need_zstd()
    words = "zstd: error 70 : Write error : cannot write block : No space left on device"
    world.node.faults.order({"fault": "storage_full", "at": "vzdump"})
    upid = world.api().post(path("vzdump"), vmid=100, storage="local", compress="zstd")
    with pytest.raises(TaskFailed) as caught:
        tasks.wait(world.api(), upid, 60)
    assert caught.value.exitstatus == "job errors"
    assert words in caught.value.words
    assert world.api().get(path("storage/local/content"), content="backup") == []
    world.node.faults.order({"fault": "task_fails", "type": "vzdump", "text": "WARNINGS: 1"})
    upid = world.api().post(path("vzdump"), vmid=100, storage="local", compress="zstd")
    assert tasks.wait(world.api(), upid, 60).warnings == 1
    assert len(world.api().get(path("storage/local/content"), content="backup")) == 1


def test_who_holds_a_lock_is_named(world: World) -> None:
    upid = world.node.hold(world.node.faults.order({"fault": "lock_held", "vmid": 100, "seconds": 30}))
    assert tasks.holders(world.api(), "pve1", 100) == ["vzdump by root@pam"]
    world.node.tasks.stop(upid)
    world.node.tasks.wait(upid)
    assert tasks.holders(world.api(), "pve1", 100) == []


def test_what_a_killed_restore_left_is_freed_and_removed(world: World) -> None:
    """A node that dies during a restore leaves a bare, locked number, which no API call can take away."""
    volid = archive(world)
    api = world.api()
    side = Side(machine="pve1", node="pve1", vmid=300, storage="local")
    target = Guest(api, side, "courses_guest", sleep=lambda seconds: None)
    source = api.get(path("qemu/100/config"))
    world.node.store.save(300, {"memory": "128", "lock": "create"})
    with pytest.raises(TaskFailed, match=r"VM is locked \(create\)"):
        prepare.restore(target, source, volid, began=True)
    assert leftovers.locked_by_restore(target, began=False)["lock"] == "", "somebody else's"
    assert leftovers.locked_by_restore(target, began=True)["lock"] == "create"
    assert daemon.main(["qm", "unlock", "300", "--root", str(world.node.paths.root), "--node", "pve1"]) == 0
    assert leftovers.locked_by_restore(target, began=True)["lock"] == ""
    done = prepare.restore(target, source, volid, began=True)
    assert (done["changed"], done["cleaned"], done["guard"]["status"]) == (True, True, "closed")
    config = api.get(path("qemu/300/config"))
    assert (config["onboot"], "link_down=1" in config["net0"], "lock" in config) == (0, True, False)
