"""Endpoints of guests: list, configuration, create and restore, power, agent, destroy."""

from __future__ import annotations

import base64
import re
from typing import Any

from . import guest_config, guest_store, qmp
from .errors import ApiError, Failure, bad_parameters
from .guest_config import Config
from .node import SHUTDOWN_SECONDS
from .params import FLAG, GUEST, TEXT, VMID, Param, shown
from .qemu import has_agent
from .restore import PLACEHOLDER, with_mac
from .routes import Request, route
from .tasks import Task

QEMU = "/nodes/{node}/qemu"
GUEST_PATH = QEMU + "/{vmid}"
VMS = "/vms/{vmid}"
ANY_CONFIG = "|".join(
    f"VM.Config.{part}" for part in ("Disk", "CDROM", "CPU", "Memory", "Network", "HWType", "Options", "Cloudinit")
)
# Since version 9 the agent has privileges of its own.
ASK_AGENT = "VM.GuestAgent.Audit|VM.GuestAgent.Unrestricted"
FREEZE_AGENT = "VM.GuestAgent.FileSystemMgmt|VM.GuestAgent.Unrestricted"
CARD = re.compile(r"net\d+")
SKIPLOCK = {"skiplock": FLAG}
SECONDS = Param("integer", minimum=0)
UPDATE = {**GUEST, "delete": TEXT, "digest": TEXT, "force": FLAG, "revert": TEXT, "skiplock": FLAG}
CREATE = {
    **GUEST, "vmid": VMID, "archive": TEXT, "storage": TEXT, "force": FLAG, "unique": FLAG, "start": FLAG,
    "bwlimit": Param("integer", minimum=0), "live-restore": FLAG, "pool": TEXT,
}  # fmt: skip
# Which privilege a changed setting needs; the first matching prefix counts.
PRIVILEGES = (
    ("net", "VM.Config.Network"), ("ipconfig", "VM.Config.Cloudinit"), ("ci", "VM.Config.Cloudinit"),
    ("nameserver", "VM.Config.Cloudinit"), ("searchdomain", "VM.Config.Cloudinit"), ("memory", "VM.Config.Memory"),
    ("balloon", "VM.Config.Memory"), ("cores", "VM.Config.CPU"), ("sockets", "VM.Config.CPU"),
    ("cpu", "VM.Config.CPU"), ("scsi", "VM.Config.Disk"), ("ide", "VM.Config.Disk"), ("sata", "VM.Config.Disk"),
    ("virtio", "VM.Config.Disk"), ("", "VM.Config.Options"),
)  # fmt: skip


def refuse_skiplock(request: Request) -> None:
    if request.values.get("skiplock"):
        raise bad_parameters({"skiplock": "Only root may use this option."})


def settings(values: dict[str, Any]) -> Config:
    """The guest's own settings among the parameters, as configuration text."""
    other = set(UPDATE) | set(CREATE)
    return {key: str(value) for key, value in values.items() if key not in other - set(GUEST)}


def need_for(request: Request, vmid: int, keys: list[str]) -> None:
    for key in keys:
        privilege = next(name for prefix, name in PRIVILEGES if key.startswith(prefix))
        request.caller.need(f"/vms/{vmid}", privilege)


@route("GET", QEMU, spec={"full": FLAG})
def guests(request: Request) -> Any:
    store, caller = request.node.store, request.caller
    return [request.node.status(vmid) for vmid in store.vmids() if caller.may(f"/vms/{vmid}", "VM.Audit")]


@route("GET", GUEST_PATH + "/config", (VMS, "VM.Audit"), {"current": FLAG, "snapshot": TEXT})
def config(request: Request) -> Any:
    values = request.node.store.load(request.vmid)
    if request.values.get("current"):
        values |= applied(request)
    return {key: shown(key, value) for key, value in values.items()}


def applied(request: Request) -> Config:
    running = request.node.qemu.pid(request.vmid) is not None
    return request.node.store.applied(request.vmid) if running else {}


@route("GET", GUEST_PATH + "/pending", (VMS, "VM.Audit"))
def pending(request: Request) -> Any:
    values, now = request.node.store.load(request.vmid), applied(request)
    return [
        {"key": key, "value": now.get(key, value)} | ({"pending": value} if key in now else {})
        for key, value in sorted(values.items())
    ]


@route("GET", GUEST_PATH + "/snapshot", (VMS, "VM.Audit"))
def snapshots(request: Request) -> Any:
    digest = request.node.store.load(request.vmid)["digest"]
    running = int(request.node.qemu.pid(request.vmid) is not None)
    return [{"name": "current", "description": "You are here!", "digest": digest, "running": running}]


@route("PUT", GUEST_PATH + "/config", (VMS, ANY_CONFIG), UPDATE)
def change(request: Request) -> Any:
    update(request, lambda line: None)


@route("POST", GUEST_PATH + "/config", (VMS, ANY_CONFIG), {**UPDATE, "background_delay": SECONDS})
def change_in_task(request: Request) -> Any:
    request.node.store.load(request.vmid)
    return request.node.tasks.start(
        "qmconfig", str(request.vmid), request.caller.name, lambda task: update(request, task.log)
    )


def update(request: Request, say: Any) -> None:
    """Change settings under the guest's lock, refusing a configuration that is not the one the caller has seen."""
    refuse_skiplock(request)
    node, vmid, values = request.node, request.vmid, request.values
    removed = [key for key in values.get("delete", "").replace(",", " ").split() if key]
    need_for(request, vmid, [*settings(values), *removed])
    if not settings(values) and not removed:
        raise Failure("no options specified")
    with node.store.locked(vmid, say):
        before = node.store.load(vmid)
        if values.get("digest", before["digest"]) != before["digest"]:
            raise Failure("detected modified configuration - file changed by other user? Try again.")
        guest_store.check_lock(before)
        after = dict(before)
        for key in removed:
            if before.get("protection") == "1" and key in before and (words := removal_of_disk(key, before[key])):
                raise Failure(f"{words} - protection mode enabled")
            after.pop(key, None)
        for key, value in settings(values).items():
            after[key] = prepared(request, vmid, key, value)
        if node.qemu.pid(vmid) is not None:
            # Cards follow at once, before the new text says so, where hotplug has them; all else waits.
            changed = [key for key in after if CARD.fullmatch(key) and before.get(key, after[key]) != after[key]]
            kept = node.store.applied(vmid)
            for key in changed:
                if plugs_cards(after):
                    node.qemu.replug(vmid, key, after[key], say)
                    kept.pop(key, None)
                else:
                    kept.setdefault(key, before[key])
            if changed:
                node.store.keep_applied(vmid, {key: card for key, card in kept.items() if card != after.get(key)})
        node.store.save(vmid, after)


def removal_of_disk(key: str, value: str) -> str:
    """What Proxmox calls the removal of this line when it is a disk's; nothing when it is not."""
    if re.fullmatch(r"unused\d+", key):
        return f"can't remove unused disk '{value.partition(',')[0]}'"
    return f"can't remove drive '{key}'" if guest_config.DISK_KEY.match(key) else ""


def plugs_cards(config: Config) -> bool:
    wanted = config.get("hotplug", "1")
    return wanted == "1" or "network" in wanted.split(",")


def prepared(request: Request, vmid: int, key: str, value: str) -> str:
    if guest_config.DISK_KEY.match(key):
        return request.node.volumes.fulfil(vmid, key, value)
    return with_mac(value) if CARD.fullmatch(key) else value


@route("POST", QEMU, spec=CREATE)
def create(request: Request) -> Any:
    node, values, vmid = request.node, request.values, request.values["vmid"]
    request.caller.need(f"/vms/{vmid}", "VM.Allocate")
    if "storage" in values:
        request.caller.need(f"/storage/{values['storage']}", "Datastore.AllocateSpace")
        node.volumes.check(values["storage"])
    return restore(request, vmid) if "archive" in values else create_empty(request, vmid, node.name)


def restore(request: Request, vmid: int) -> str:
    node, values = request.node, request.values
    archive = values["archive"]
    path = node.volumes.path(archive) if ":" in archive else node.paths.root / archive.lstrip("/")
    if path.parent != node.paths.dump:
        raise ApiError(403, "Permission check failed (only root can pass arbitrary filesystem paths)")
    if not path.exists():
        raise Failure(f"volume '{archive}' does not exist")
    overrides = {key: with_mac(value) if CARD.fullmatch(key) else value for key, value in settings(values).items()}
    node.restore.reserve(vmid, bool(values.get("force")), node.name)

    def work(task: Task) -> None:
        node.restore.run(task, vmid, path, bool(values.get("unique")), overrides, values.get("storage", "local"))
        if values.get("start"):
            node.start(task, vmid)

    return node.tasks.start("qmrestore", str(vmid), request.caller.name, work)


def create_empty(request: Request, vmid: int, node_name: str) -> str:
    node, values = request.node, request.values
    with node.store.locked(vmid):
        if node.store.exists(vmid):
            raise Failure(f"unable to create VM {vmid} - VM {vmid} already exists on node '{node_name}'")
        node.store.save(vmid, {**PLACEHOLDER, "lock": "create"})

    def work(task: Task) -> None:
        with node.store.locked(vmid, task.log):
            wanted = {key: prepared(request, vmid, key, value) for key, value in settings(values).items()}
            node.store.save(vmid, wanted)
        if values.get("start"):
            node.start(task, vmid)

    return node.tasks.start("qmcreate", str(vmid), request.caller.name, work)


@route("DELETE", GUEST_PATH, (VMS, "VM.Allocate"), {
    **SKIPLOCK, "purge": FLAG, "destroy-unreferenced-disks": FLAG,
})  # fmt: skip
def destroy(request: Request) -> Any:
    refuse_skiplock(request)
    node, vmid, unreferenced = request.node, request.vmid, bool(request.values.get("destroy-unreferenced-disks"))
    if node.store.load(vmid).get("protection") == "1":
        raise Failure(f"can't remove VM {vmid} - protection mode enabled")
    if node.qemu.pid(vmid) is not None:
        raise Failure(f"VM {vmid} is running - destroy failed")
    return node.tasks.start(
        "qmdestroy", str(vmid), request.caller.name, lambda task: node.destroy(task, vmid, False, unreferenced)
    )


@route("GET", GUEST_PATH + "/status/current", (VMS, "VM.Audit"))
def current(request: Request) -> Any:
    return request.node.current(request.vmid)


@route("POST", GUEST_PATH + "/status/start", (VMS, "VM.PowerMgmt"), {**SKIPLOCK, "timeout": SECONDS})
def start(request: Request) -> Any:
    refuse_skiplock(request)
    node, vmid = request.node, request.vmid
    return node.tasks.start("qmstart", str(vmid), request.caller.name, lambda task: node.start(task, vmid))


@route("POST", GUEST_PATH + "/status/stop", (VMS, "VM.PowerMgmt"), {
    **SKIPLOCK, "timeout": SECONDS, "keepActive": FLAG, "overrule-shutdown": FLAG,
})  # fmt: skip
def stop(request: Request) -> Any:
    refuse_skiplock(request)
    node, vmid = request.node, request.vmid
    return node.tasks.start("qmstop", str(vmid), request.caller.name, lambda task: node.stop(task, vmid))


@route("POST", GUEST_PATH + "/status/shutdown", (VMS, "VM.PowerMgmt"), {
    **SKIPLOCK, "timeout": SECONDS, "forceStop": FLAG, "keepActive": FLAG,
})  # fmt: skip
def shutdown(request: Request) -> Any:
    refuse_skiplock(request)
    node, vmid, values = request.node, request.vmid, request.values
    seconds, force = values.get("timeout", SHUTDOWN_SECONDS), bool(values.get("forceStop"))
    return node.tasks.start(
        "qmshutdown", str(vmid), request.caller.name, lambda task: node.shutdown(task, vmid, seconds, force)
    )


@route("POST", GUEST_PATH + "/status/resume", (VMS, "VM.PowerMgmt"), {**SKIPLOCK, "nocheck": FLAG})
def resume(request: Request) -> Any:
    refuse_skiplock(request)
    return _monitor_task(request, "qmresume", "cont")


@route("POST", GUEST_PATH + "/status/suspend", (VMS, "VM.PowerMgmt"), SKIPLOCK)
def suspend(request: Request) -> Any:
    refuse_skiplock(request)
    return _monitor_task(request, "qmsuspend", "stop")


def _monitor_task(request: Request, kind: str, command: str) -> str:
    node, vmid = request.node, request.vmid

    def work(task: Task) -> None:
        with node.store.locked(vmid, task.log):
            guest_store.check_lock(node.store.load(vmid))
            if node.qemu.pid(vmid) is None:
                raise Failure(f"VM {vmid} not running")
            node.qemu.monitor(vmid, command)

    return node.tasks.start(kind, str(vmid), request.caller.name, work)


AGENT_COMMANDS = {
    "GET": ("get-osinfo", "get-host-name", "get-fsinfo", "get-time", "info", "network-get-interfaces"),
    "POST": ("ping", "fsfreeze-status", "fsfreeze-freeze", "fsfreeze-thaw"),
}


def agent_call(request: Request, command: str, arguments: dict[str, Any] | None = None) -> Any:
    node, vmid = request.node, request.vmid
    values = node.store.load(vmid)
    if not has_agent(values):
        raise Failure("No QEMU guest agent configured")
    if node.qemu.pid(vmid) is None:
        raise Failure(f"VM {vmid} is not running")
    if not node.qemu.agent_answers(vmid, values):
        raise Failure("QEMU guest agent is not running")
    try:
        return node.qemu.agent(vmid, command, arguments, timeout=60 if "freeze" in command else 10)
    except qmp.Refused as error:
        raise Failure(f"Agent error: {error}") from error
    except qmp.Unreachable as error:
        raise Failure(f"VM {vmid} qmp command 'guest-{command}' failed - {error}") from error


def _agent_route(method: str, command: str) -> None:
    since_9 = {
        "fsfreeze-status": f"VM.GuestAgent.Audit|{FREEZE_AGENT}", "fsfreeze-freeze": FREEZE_AGENT,
        "fsfreeze-thaw": FREEZE_AGENT,
    }.get(command, ASK_AGENT)  # fmt: skip

    @route(method, GUEST_PATH + f"/agent/{command}", (VMS, "VM.Monitor"), since_9=since_9)
    def call(request: Request) -> Any:
        return {"result": agent_call(request, command)}


for _method, _commands in AGENT_COMMANDS.items():
    for _command in _commands:
        _agent_route(_method, _command)


@route("POST", GUEST_PATH + "/agent/exec", (VMS, "VM.Monitor"), {
    "command": TEXT, "input-data": TEXT,
}, "VM.GuestAgent.Unrestricted")  # fmt: skip
def agent_exec(request: Request) -> Any:
    command = request.given["command"]
    words = command if isinstance(command, list) else [command]
    return agent_call(request, "exec", {"path": words[0], "arg": words[1:], "capture-output": True})


@route("GET", GUEST_PATH + "/agent/exec-status", (VMS, "VM.Monitor"), {
    "pid": Param("integer", required=True),
}, "VM.GuestAgent.Unrestricted")  # fmt: skip
def agent_exec_status(request: Request) -> Any:
    result = agent_call(request, "exec-status", {"pid": request.values["pid"]})
    # The agent speaks base64 here, Proxmox's answer is plain text.
    for key in ("out-data", "err-data"):
        if key in result:
            result[key] = base64.b64decode(result[key]).decode(errors="replace")
    return {**result, "exited": int(result["exited"])}
