"""The client against the texts recorded from the real API: statuses, errors, tasks, types."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import pytest

from bascule.guest import config, tasks
from bascule.guest import errors as kinds
from bascule.guest.api import VERSIONED, Api, NoAnswer, NotSent, plain
from bascule.guest.errors import ProxmoxError, TaskFailed
from bascule.guest.io.proxmox_api import connect


class Script:
    """A transport that gives prepared answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, Any]]] = []

    def __call__(self, method: str, path: str, values: Mapping[str, Any]) -> Any:
        self.requests.append((method, path, dict(values)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _api(*answers: Any) -> tuple[Api, Script]:
    script = Script(*answers)
    return Api(script, "pve-mtp", sleep=lambda seconds: None), script


def _no(status: int, reason: str, errors: Mapping[str, str] | None = None) -> tuple[int, str, None, Any]:
    return status, reason, None, errors


@pytest.mark.parametrize(
    ("status", "reason", "errors", "kind"),
    [
        (401, "No ticket", None, kinds.NotAuthenticated),
        (401, "Authentication failed!", None, kinds.NotAuthenticated),
        (403, "Permission check failed (/vms/100, VM.PowerMgmt)", None, kinds.NotPermitted),
        (403, "Permission check failed (/storage/local, Datastore.AllocateSpace)", None, kinds.NotPermitted),
        (501, "Method 'GET /nodes/pve1/foo' not implemented", None, kinds.BadRequest),
        (
            400,
            "Parameter verification failed.",
            {"onboot": "type check ('boolean') failed - got 'true'"},
            kinds.BadRequest,
        ),
        (500, "storage 'nope' does not exist", None, kinds.ApiRefused),
        (500, "unable to restore VM 200 - VM 200 already exists on node 'pve1'", None, kinds.GuestExists),
        (500, "VM is locked (backup)", None, kinds.GuestLocked),
        (500, "QEMU guest agent is not running", None, kinds.AgentSilent),
        (500, "detected modified configuration - file changed by other user? Try again.", None, kinds.ConfigChanged),
        (500, "Configuration file 'nodes/pve1/qemu-server/200.conf' does not exist", None, kinds.NoSuchGuest),
    ],
)
def test_a_refusal_has_a_type_and_proxmoxs_own_words(
    status: int, reason: str, errors: Mapping[str, str] | None, kind: type[ProxmoxError]
) -> None:
    api, script = _api(_no(status, reason, errors))
    with pytest.raises(kind) as caught:
        api.put("nodes/pve1/qemu/100/config", onboot=True)
    assert type(caught.value) is kind
    assert reason in caught.value.found
    for text in (errors or {}).values():
        assert text in caught.value.found
    assert script.requests[0][2] == {"onboot": 1}


def test_a_lock_that_proxmox_gave_up_waiting_for_is_tried_again() -> None:
    words = "can't lock file '/var/lock/qemu-server/lock-200.conf' - got timeout"
    api, script = _api(_no(500, words), _no(500, words), (200, "OK", None, None))
    assert api.put("nodes/pve1/qemu/200/config", onboot=False) is None
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "answer", [_no(595, "Network is unreachable"), _no(596, ""), NotSent("refused"), NoAnswer("x")]
)
def test_reading_is_repeated_when_the_node_cannot_be_reached(answer: Any) -> None:
    api, script = _api(answer, (200, "OK", {"version": "8.4.21"}, None))
    assert api.get("version") == {"version": "8.4.21"}
    assert len(script.requests) == 2


@pytest.mark.parametrize("answer", [_no(596, "Connection timed out"), NoAnswer("read timed out")])
def test_writing_is_not_repeated_when_it_may_have_been_done(answer: Any) -> None:
    api, script = _api(answer)
    with pytest.raises(kinds.NodeUnreachable):
        api.post("nodes/pve1/qemu/100/status/start")
    assert len(script.requests) == 1


@pytest.mark.parametrize("answer", [_no(595, "Network is unreachable"), NotSent("refused")])
def test_writing_is_repeated_when_it_was_never_sent(answer: Any) -> None:
    api, script = _api(answer, (200, "OK", "UPID", None))
    assert api.post("nodes/pve1/qemu/100/status/start") == "UPID"
    assert len(script.requests) == 2


def test_values_are_what_proxmox_takes() -> None:
    assert plain({"a": True, "b": False, "c": None, "notes_template": "x"}) == {"a": 1, "b": 0, "notes-template": "x"}


def test_a_proxy_without_a_way_to_the_node_has_changed_nothing() -> None:
    api, _ = _api(*[_no(595, "Network is unreachable")] * 5)
    with pytest.raises(
        kinds.NodeUnreachable, match=r"found: 595 Network is unreachable; state now: nothing was changed"
    ):
        api.put("nodes/pve1/qemu/100/config", onboot=False)


def test_what_a_version_does_not_take_is_not_sent() -> None:
    api, script = _api((200, "OK", {"version": "9.1.3"}, None), (200, "OK", "UPID", None), (200, "OK", "UPID", None))
    with pytest.raises(
        kinds.BadRequest, match=r"Proxmox 9\.1\.3 does not take .*notification-policy: known from .* 8 to 8"
    ):
        api.post("nodes/pve1/vzdump", vmid=100, notification_policy="never")
    assert [request[1] for request in script.requests] == ["version"]
    api.post("nodes/pve1/qemu", vmid=100, ha_managed=False)
    assert script.requests[-1][2] == {"vmid": 100, "ha-managed": 0}
    api.post("nodes/pve1/vzdump", vmid=100)
    assert len(script.requests) == 3, "the version is asked once, and only when it matters"
    eight, sent = _api((200, "OK", {"version": "8.4.21"}, None), (200, "OK", "UPID", None))
    eight.post("nodes/pve1/vzdump", vmid=100, notification_policy="never")
    with pytest.raises(kinds.BadRequest, match="known from version 9"):
        eight.put("nodes/pve1/qemu/100/config", allow_ksm=True)
    assert len(sent.requests) == 2


def test_an_answer_that_names_no_version_is_no_proxmox() -> None:
    api, _ = _api((200, "OK", {"hello": "world"}, None))
    with pytest.raises(ProxmoxError, match="the version of Proxmox at pve-mtp; found: ''"):
        api.version()


def test_the_table_of_versions_is_the_schemas(schema: ModuleType) -> None:
    """Every parameter of the endpoints in use that one version takes and the other does not stands in the table."""
    if not (schema.available("8.4") and schema.available("9.1")):
        pytest.skip(schema.MISSING)
    used = (
        "POST /nodes/{node}/vzdump", "POST /nodes/{node}/qemu", "PUT /nodes/{node}/qemu/{vmid}/config",
        "DELETE /nodes/{node}/qemu/{vmid}", "POST /nodes/{node}/qemu/{vmid}/status/start",
        "POST /nodes/{node}/qemu/{vmid}/status/stop", "POST /nodes/{node}/qemu/{vmid}/status/shutdown",
        "POST /nodes/{node}/qemu/{vmid}/remote_migrate", "GET /nodes/{node}/tasks",
        "DELETE /nodes/{node}/storage/{storage}/content/{volume}",
    )  # fmt: skip
    takes = {number: {key: schema.parameters(text, key) for key in used} for number, text in ((8, "8.4"), (9, "9.1"))}
    for key in used:
        for name in takes[8][key] ^ takes[9][key]:
            first, last = VERSIONED[name]
            for number in (8, 9):
                assert (name in takes[number][key]) == (first <= number <= (last or number)), f"{key} {name}"
    known = {name for number in takes.values() for names in number.values() for name in names}
    assert set(VERSIONED) <= known


UPID = "UPID:pve1:000000D0:00028684:6B0008D9:vzdump:100:root@pam!mig:"


def test_task_names() -> None:
    found = tasks.parse_upid(UPID)
    assert (found.node, found.kind, found.id, found.user) == ("pve1", "vzdump", "100", "root@pam!mig")
    several = tasks.parse_upid("UPID:pve1:0000004D:000273EA:6B0008AA:vzdump::root@pam!mig:")
    assert several.id == ""
    wrongs: list[object] = [None, {}, "OK", "UPID:pve1", UPID[:-1]]
    for wrong in wrongs:
        with pytest.raises(ProxmoxError, match="a task name"):
            tasks.parse_upid(wrong)


@pytest.mark.parametrize(
    ("exitstatus", "lines", "words"),
    [
        (
            "job errors",
            ["ERROR: Backup of VM 999 failed - unable to find VM '999'", "TASK ERROR: job errors"],
            "job errors: Backup of VM 999 failed - unable to find VM '999'",
        ),
        (
            "unexpected status",
            ["ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)"],
            "unexpected status: can't acquire lock '/var/run/vzdump.lock' (wait = 0)",
        ),
        (
            "interrupted by signal",
            ["ERROR: interrupted by signal", "TASK ERROR: interrupted by signal"],
            "interrupted by signal",
        ),
        (
            "start failed: QEMU exited with code 1",
            [
                "bridge 'vmbr9' does not exist",
                "kvm: network script /var/lib/qemu-server/pve-bridge failed with status 512",
                "TASK ERROR: start failed: QEMU exited with code 1",
            ],
            "start failed: QEMU exited with code 1: bridge 'vmbr9' does not exist; kvm: network script "
            "/var/lib/qemu-server/pve-bridge failed with status 512; start failed: QEMU exited with code 1",
        ),
        (
            "migration aborted",
            [
                "2026-11-20 08:48:36 starting migration of VM 100 to node 'pveb' (10.98.0.2)",
                "2026-11-20 08:48:40 ERROR: migration aborted (duration 00:00:04): no such bridge",
                "TASK ERROR: migration aborted",
            ],
            "migration aborted: migration aborted (duration 00:00:04): no such bridge",
        ),
        ("VM is locked (backup)", ["TASK ERROR: VM is locked (backup)"], "VM is locked (backup)"),
        ("", [], "no exit status"),
    ],
)
def test_a_failed_task_speaks_with_its_logs_words(exitstatus: str, lines: list[str], words: str) -> None:
    with pytest.raises(TaskFailed) as caught:
        tasks.judge(UPID, exitstatus, lines)
    assert caught.value.found == words


def test_warnings_are_a_success_that_is_reported() -> None:
    assert tasks.judge(UPID, "WARNINGS: 2", []).warnings == 2
    assert tasks.judge(UPID, "OK", []).warnings == 0


def test_warnings_are_told_in_the_logs_words() -> None:
    lines = ["WARN: no efidisk configured", "2026-11-20 08:48:40 WARNING: old machine type", "TASK WARNINGS: 2"]
    assert tasks.judge(UPID, "WARNINGS: 2", lines).warned == ("no efidisk configured", "old machine type")


def test_progress_is_taken_from_the_log() -> None:
    lines = [
        "INFO:  50% (520.0 MiB of 1.0 GiB) in 3s, read: 173.3 MiB/s, write: 13.3 MiB/s",
        "INFO:  97% (1000.0 MiB of 1.0 GiB) in 6s, read: 160.0 MiB/s, write: 0 B/s",
        "INFO: backup is sparse: 984.00 MiB (96%) total zero data",
    ]
    found = tasks.progress(lines)
    assert found is not None
    assert (found.percent, found.text) == (97, "97% (1000.0 MiB of 1.0 GiB, 160.0 MiB/s)")
    assert tasks.progress(["INFO: status = running"]) is None
    tunnel = (
        "100372480 bytes (100 MB, 96 MiB) copied, 1 s, 100 MB/s206934016 bytes (207 MB, 197 MiB) copied, 2 s, 103 MB/s"
    )
    copied = tasks.progress([tunnel, "2026-11-20 08:48:49 disk-import: Formatting"])
    assert copied is not None
    assert (copied.percent, copied.text) == (None, "207 MB copied, 103 MB/s")
    mirrored = tasks.progress(["drive-scsi0: transferred 1.0 GiB of 4.0 GiB (25.31%) in 3s"])
    assert mirrored is not None
    assert (mirrored.percent, mirrored.text) == (25, "25% (1.0 GiB of 4.0 GiB)")


def test_a_running_task_is_waited_for_and_told() -> None:
    running, stopped = {"status": "running"}, {"status": "stopped", "exitstatus": "OK"}
    line = "INFO:  80% (824.5 MiB of 1.0 GiB) in 3s, read: 274.8 MiB/s, write: 13.3 MiB/s"
    api, script = _api(
        (200, "OK", running, None),
        (200, "OK", [{"n": 1, "t": line}], None),
        (200, "OK", stopped, None),
        (200, "OK", [{"n": 2, "t": "TASK OK"}], None),
    )
    said: list[str] = []
    outcome = tasks.wait(api, UPID, 60, report=said.append, sleep=lambda seconds: None)
    assert outcome.log == (line, "TASK OK")
    assert said == ["vzdump 100: 80% (824.5 MiB of 1.0 GiB, 274.8 MiB/s)"]
    assert script.requests[3][2]["start"] == 1


def test_a_task_goes_on_while_the_api_is_away() -> None:
    api, _ = _api(
        *[NotSent("refused")] * 5,
        (200, "OK", {"status": "stopped", "exitstatus": "OK"}, None),
        (200, "OK", [{"n": 1, "t": "TASK OK"}], None),
    )
    said: list[str] = []
    assert tasks.wait(api, UPID, 60, report=said.append, sleep=lambda seconds: None).log == ("TASK OK",)
    assert said == ["vzdump 100: no answer from the node (refused); the task may go on"]


def test_a_node_that_stays_away_is_not_waited_for_endlessly() -> None:
    api, script = _api(*[NotSent("refused")] * 15)
    now = iter([0.0, 10.0, 10.0, 70.0, 131.0])
    with pytest.raises(kinds.NodeUnreachable):
        tasks.wait(api, UPID, 3600, sleep=lambda seconds: None, clock=lambda: next(now))
    assert script.answers == []


def test_a_task_that_takes_a_moment_is_seen_to_end_at_once() -> None:
    running = [(200, "OK", {"status": "running"}, None), (200, "OK", [], None)]
    api, _ = _api(*running * 3, (200, "OK", {"status": "stopped", "exitstatus": "OK"}, None), (200, "OK", [], None))
    slept: list[float] = []
    now = iter([0.0, 0.1, 4.0, 400.0])
    tasks.wait(api, UPID, 3600, sleep=slept.append, clock=lambda: next(now))
    assert slept == [0.05, 0.2, 2.0]


def test_a_long_log_is_read_to_its_end() -> None:
    pages = [[{"n": n, "t": f"line {n}"} for n in range(5000)], [{"n": 5000, "t": "TASK OK"}]]
    api, script = _api(*[(200, "OK", page, None) for page in pages])
    assert tasks.read_log(api, "pve1", UPID)[-1] == "TASK OK"
    assert [request[2]["start"] for request in script.requests] == [0, 5000]


def test_the_archive_that_a_backup_began() -> None:
    line = "INFO: creating vzdump archive '/var/lib/vz/dump/vzdump-qemu-100-2026_11_20-08_46_01.vma.zst'"
    assert tasks.created_archives(["INFO: x", line]) == ["vzdump-qemu-100-2026_11_20-08_46_01.vma.zst"]


def test_a_task_that_takes_too_long_goes_on_at_the_node() -> None:
    api, _ = _api(*[(200, "OK", {"status": "running"}, None), (200, "OK", [], None)] * 3)
    now = iter([0.0, 30.0, 90.0])
    with pytest.raises(kinds.TaskLate, match="the task goes on at pve1"):
        tasks.wait(api, UPID, 60, sleep=lambda seconds: None, clock=lambda: next(now))


def test_disks_of_a_config() -> None:
    found = config.drives(
        {
            "scsi0": "local:100/vm-100-disk-0.raw,size=1G",
            "virtio1": "local-lvm:vm-100-disk-1,size=8G",
            "sata0": "nfs:100/vm-100-disk-2.qcow2,size=4G",
            "ide2": "local:iso/debian.iso,media=cdrom",
            "ide0": "local:100/vm-100-cloudinit.qcow2,media=cdrom",
            "ide3": "none,media=cdrom",
            "scsihw": "virtio-scsi-pci",
        }
    )
    assert [(d.name, d.storage, d.format, d.size) for d in found] == [
        ("sata0", "nfs", "qcow2", 4 << 30),
        ("scsi0", "local", "raw", 1 << 30),
        ("virtio1", "local-lvm", "raw", 8 << 30),
    ]


@pytest.mark.parametrize(
    ("text", "size"),
    [("4G", 4 << 30), ("4096M", 4 << 30), ("528K", 528 << 10), ("12.5G", 25 << 29), ("77", 77), ("", 0)],
)
def test_a_size_is_told_in_more_than_one_way(text: str, size: int) -> None:
    assert config.size_of(text) == size


def test_a_size_that_cannot_be_read_is_not_none() -> None:
    with pytest.raises(kinds.ProxmoxError, match="the size of a disk"):
        config.size_of("4X")


def test_links() -> None:
    net = "virtio=BC:24:11:03:07:C1,bridge=vmbr0,tag=20"
    down = config.with_link(net, up=False, bridge="vmbr7", tag="")
    assert down == "virtio=BC:24:11:03:07:C1,bridge=vmbr7,link_down=1"
    assert config.with_link(down, up=True) == "virtio=BC:24:11:03:07:C1,bridge=vmbr7"
    assert config.link_is_up(net)
    assert not config.link_is_up(down)
    assert config.mac_of(down) == "BC:24:11:03:07:C1"


def test_the_guard_of_another_side_is_not_ours() -> None:
    from bascule.guard.state import GuardState, adopt_open

    text = config.with_guard("Ask Nadia.\n", adopt_open(GuardState("courses_guest", "pve-mtp")))
    assert config.guard_of(text, "courses_guest", "pve-mtp").status == "open"
    assert config.guard_of(text, "courses_guest", "pve-tls").status == "unknown"
    assert config.foreign_guard(text, "other") == ["courses_guest"]
    assert config.with_guard(text, None) == "Ask Nadia."


def test_schema_refuses_what_proxmox_refuses(schema: ModuleType) -> None:
    if not schema.available("8.4"):
        pytest.skip(schema.MISSING)
    schema.check(
        "8.4", "PUT", "nodes/pve1/qemu/100/config", {"onboot": 1, "net0": "virtio,bridge=vmbr0", "digest": "a"}
    )
    for values in ({"onboot": "true"}, {"nosuch": 1}):
        with pytest.raises(Exception, match=r"is not one of|does not match any of the regexes"):
            schema.check("8.4", "PUT", "nodes/pve1/qemu/100/config", values)
    with pytest.raises(AssertionError):
        schema.check("8.4", "POST", "version", {})


def test_a_node_that_is_not_there_is_told_in_a_few_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        transport = connect("127.0.0.1", taken.getsockname()[1], "a@pve!t", "secret", "", 3.0)
        with pytest.raises(NotSent) as caught:
            transport("GET", "/nodes/pve-tls/qemu/100/config", {})
    assert str(caught.value).endswith("Connection refused")
    assert "Max retries" not in str(caught.value)
    assert "/api2/json" not in str(caught.value)
