"""Whether a tree that is not open can be written to: after a reboot, through an overlay, from a mount nobody sees."""

from __future__ import annotations

import pytest

from tests.faults.pair import Pair

HOME = "/var/lib/bascule/course_files"
TREE = "/srv/courses"
UNIT = "/etc/systemd/system/srv-courses.mount"
# As fstab's nofail does: at boot, but nothing waits for it; here its device is late as well. What serves the tree waits
# for its mount and for nothing else, and tries to write as soon as that is there.
LATE = f"""
cat >{UNIT} <<'END'
[Unit]
After=slow-disk.service
Requires=slow-disk.service
[Mount]
What=/dev/courses
Where={TREE}
Type=ext4
Options=defaults,nofail
[Install]
WantedBy=local-fs.target
END
cat >/etc/systemd/system/slow-disk.service <<'END'
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=sleep 4
END
cat >/etc/systemd/system/writer.service <<'END'
[Unit]
RequiresMountsFor={TREE}
[Service]
Type=oneshot
ExecStart=bash -c 'echo $$(stat -c %%d {TREE} /) >/root/devices'
ExecStart=bash -c 'if echo x >{TREE}/at-boot; then echo yes; else echo no; fi >/root/wrote'
[Install]
WantedBy=multi-user.target
END
rm -f /etc/systemd/system/local-fs.target.requires/srv-courses.mount
systemctl daemon-reload
"""


@pytest.fixture(scope="module")
def pair(fenced: Pair) -> Pair:
    return fenced


def shell(pair: Pair, side: str, text: str) -> str:
    return pair.must_run(side, ["bash", "-c", f"set -eu -o pipefail\n{text}"], timeout=300)


def test_a_tree_that_no_boot_mounts_is_refused_and_nothing_is_set_up(pair: Pair) -> None:
    shell(pair, "target", LATE)
    said = "is not mounted at boot, but whenever a service or a person asks for it"
    for verb, check in (("audit", False), ("prepare", True), ("prepare", False)):
        refused = pair.verb(verb, check=check)
        assert not refused.ok
        assert said in refused.stdout
        assert "systemctl add-wants local-fs.target 'srv-courses.mount'; systemctl daemon-reload" in refused.stdout
    assert pair.run("target", ["test", "-e", HOME + "/fence.json"]).rc != 0
    shell(pair, "target", "systemctl add-wants local-fs.target srv-courses.mount; systemctl daemon-reload")
    pair.must("audit")
    pair.must("prepare")
    assert "changed=0" in pair.must("prepare").stdout


def test_a_tree_that_is_mounted_late_is_fenced_before_what_waits_for_it_can_write(pair: Pair) -> None:
    shell(pair, "target", "systemctl enable --quiet writer.service")
    pair.kill("target")
    pair.boot("target")
    pair.until("target", "test -s /root/wrote")
    device, root = shell(pair, "target", "cat /root/devices").split()
    assert device != root
    assert shell(pair, "target", "cat /root/wrote") == "no\n"
    assert shell(pair, "target", f"findmnt -no OPTIONS {TREE}").startswith("ro,")
    shell(pair, "target", "systemctl is-active bascule-boot.service; systemctl disable --quiet writer.service")
    pair.must("sync")
    assert pair.fact("transfer")["proved_equal"]


def test_a_tree_that_is_mounted_again_by_hand_is_fenced_again(pair: Pair) -> None:
    shell(pair, "target", f"umount {HOME}/tree {TREE}; mount {TREE} 2>/dev/null || mount /dev/courses {TREE}")
    pair.until("target", f"findmnt -no OPTIONS {TREE} | grep -q '^ro,'")
    assert pair.run("target", ["touch", f"{TREE}/x"]).rc != 0
    pair.must("sync")


def change(pair: Pair) -> None:
    """Give a transfer something to carry."""
    shell(pair, "source", f"date +%N >>{TREE}/uploads/changed")


def receive(pair: Pair) -> None:
    """Have the passive side receive something, which leaves its file system writable for the next transfer."""
    change(pair)
    pair.must("sync")
    assert shell(pair, "target", "findmnt -no FS-OPTIONS " + TREE).startswith("rw")


def assert_refused(pair: Pair, said: str) -> None:
    """A passive side that cannot be fenced receives nothing, and the audit says so, too."""
    change(pair)
    for verb in ("sync", "audit"):
        refused = pair.verb(verb)
        assert not refused.ok
        assert said in refused.stdout
    assert shell(pair, "target", "findmnt -no FS-OPTIONS " + TREE).startswith("ro")
    assert pair.guard("target")["status"] == "closed"


def test_an_overlay_whose_upper_layer_lies_in_the_tree_is_named_and_refused(pair: Pair) -> None:
    """As a container engine mounts it: out of sight, with a copy for itself of the mount that it was given."""
    receive(pair)
    shell(
        pair,
        "target",
        f"""
        cd {HOME}/tree; touch -r . /run/before; mkdir -p engine/upper engine/work /root/lower /root/merged
        mount --bind {TREE} /mnt; mount -o remount,bind,rw /mnt
        systemd-run --quiet --unit=engine --property=PrivateMounts=yes bash -c '
            mount -t overlay overlay -o lowerdir=/root/lower,upperdir=/mnt/engine/upper,workdir=/mnt/engine/work \
                /root/merged && umount /mnt && touch /root/mounted && exec sleep 600'
        until test -e /root/mounted; do sleep 0.1; done; umount /mnt
        nsenter -t $(systemctl show -p MainPID --value engine) -m touch /root/merged/written; ls engine/upper/written
        cd /; python3 /usr/local/lib/bascule/bascule.pyz boot
        """,
    )
    try:
        assert_refused(pair, "the overlay at /root/merged of engine.service")
    finally:
        shell(
            pair,
            "target",
            f"systemctl stop engine; mount -o remount,rw {HOME}/tree; cd {HOME}/tree; rm -r engine; "
            "touch -r /run/before .; cd /; python3 /usr/local/lib/bascule/bascule.pyz boot",
        )
    pair.must("sync")
    assert pair.fact("transfer")["proved_equal"]


@pytest.mark.long
def test_a_process_that_sits_in_a_mount_taken_away_while_in_use_is_named_and_refused(pair: Pair) -> None:
    receive(pair)
    shell(
        pair,
        "target",
        "systemd-run --quiet --unit=lazy --property=PrivateMounts=yes bash -c 'mount /dev/courses /mnt; cd /mnt; "
        "umount --lazy /mnt; touch /root/lazily; exec sleep 600'; until test -e /root/lazily; do sleep 0.1; done; "
        # It can write there, and no mount table knows of it.
        "cd /proc/$(systemctl show -p MainPID --value lazy)/cwd; touch -r . /run/before; touch x; rm x; "
        "touch -r /run/before .; cd /; python3 /usr/local/lib/bascule/bascule.pyz boot",
    )
    try:
        assert_refused(pair, "which has its working directory in a mount that was taken away while in use")
    finally:
        shell(pair, "target", "systemctl stop lazy")
    pair.must("sync")


@pytest.mark.long
def test_a_mount_namespace_without_a_process_is_fenced_as_well(pair: Pair) -> None:
    shell(
        pair,
        "target",
        "mkdir /run/spaces; mount --bind /run/spaces /run/spaces; mount --make-private /run/spaces; "
        # Some kernels number namespaces by processor, and pin none that seems older than the one it is pinned in.
        "touch /run/spaces/one; for cpu in $(seq 0 $(($(nproc) - 1))); do "
        "if taskset --cpu-list $cpu unshare --mount=/run/spaces/one true; then break; fi; done; "
        f"nsenter --mount=/run/spaces/one mount -o remount,bind,rw {TREE}",
    )
    receive(pair)
    seen = pair.run("target", ["nsenter", "--mount=/run/spaces/one", "touch", f"{TREE}/x"])
    assert "Read-only file system" in seen.err
    shell(pair, "target", "umount /run/spaces/one; umount /run/spaces")


def puts(port: int) -> dict[str, list[str]]:
    """Declare a client that writes through a side's service, as browsers do here."""
    where = f"http://{{address}}:{port}/uploads/from-outside"
    command = "curl --fail --silent --show-error --max-time 10 --upload-file /etc/hostname"
    return {"rsync_delta_sync_write_from_outside": [*command.split(), where]}


def test_a_closed_side_is_tried_through_its_service_from_the_other_machine(pair: Pair) -> None:
    pair.write_inventory(**puts(8080))
    try:
        pair.must("check", "freeze", "sync", "switch", "thaw", "verify")
        found = pair.fact("verify")
        assert (found["fence_from_outside"], found["files_different"]) == ("refused", 0)
        assert "503; let in at 20" in found["fence_from_outside_reason"]
        # A service that writes where no fence of the tree reaches: to its users the side is as open as before.
        pair.write_inventory(**puts(8081))
        shell(
            pair,
            "target",
            "mkdir -p /root/elsewhere/uploads; systemd-run --quiet --unit=elsewhere python3 "
            "/usr/local/lib/coursefiles/coursefiles.py --root /root/elsewhere --port 8081; "
            "until curl --silent --output /dev/null http://127.0.0.1:8081/; do sleep 0.1; done",
        )
        pair.must("check", direction="back")
        refused = pair.verb("freeze", "sync", "switch", direction="back")
        assert not refused.ok
        assert "the command of rsync_delta_sync_write_from_outside was let in" in refused.stdout
        assert [pair.guard(side)["status"] for side in ("source", "target")] == ["closed", "closed"]
        shell(pair, "target", "systemctl stop elsewhere")
        pair.must("switch", "thaw", "verify", direction="back")
        found = pair.fact("verify")
        assert (found["fence_from_outside"], found["files_different"]) == ("refused", 0)
    finally:
        pair.write_inventory()


def power_cycle_without_the_agent(pair: Pair, side: str) -> None:
    """Start a host again whose agent is gone, and give the agent back once services run."""
    shell(pair, side, "mv /usr/local/lib/bascule/bascule.pyz /root/; sync")
    pair.kill(side)
    pair.boot(side)
    pair.until(side, "systemctl is-failed --quiet bascule-boot.service")


def give_the_agent_back(pair: Pair, side: str) -> None:
    shell(pair, side, "mv /root/bascule.pyz /usr/local/lib/bascule/; systemctl restart bascule-boot.service")


@pytest.mark.long
def test_without_the_agent_a_closed_tree_comes_up_closed_and_an_open_one_serves(pair: Pair) -> None:
    shell(pair, "target", "rm -f /root/wrote; systemctl enable --quiet writer.service")
    power_cycle_without_the_agent(pair, "target")
    pair.until("target", "test -s /root/wrote")
    assert shell(pair, "target", "cat /root/wrote") == "no\n"
    shell(pair, "target", "systemctl disable --quiet writer.service")
    give_the_agent_back(pair, "target")
    pair.must("freeze", "sync", "switch", "thaw")
    for side in ("source", "target"):
        power_cycle_without_the_agent(pair, side)
    refused = pair.run("source", ["touch", f"{TREE}/x"])
    assert "Read-only file system" in refused.err
    shell(pair, "target", f"touch {TREE}/while-the-agent-was-gone")
    for side in ("source", "target"):
        give_the_agent_back(pair, side)
    # Nothing is left of it where it is undone, and what came up closed opens as ever.
    pair.must("freeze", "sync", "switch", "thaw", direction="back")
    shell(pair, "source", f"test -e {TREE}/while-the-agent-was-gone; touch {TREE}/x; rm {TREE}/x")
    assert pair.run("source", ["bash", "-c", "ls /etc/systemd/system/*/zzz-bascule-*"]).rc != 0
