"""Reading mount tables, and the steps from any state to any other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.filetree import mounts
from bascule.filetree.mounts import ACTIVE, CLOSED, FROZEN, PASSIVE, STATES, Elsewhere, Step, TreeError, View
from bascule.system.mountinfo import Mount, mounted_at, parse_mountinfo

from .world import mount

TABLE = r"""36 25 0:40 / / rw,relatime - overlay overlay rw,lowerdir=/x
91 36 7:0 / /srv/course\040files rw,nosuid,noatime shared:1 - ext4 /dev/loop0 rw,errors=remount-ro
92 36 7:0 / /var/lib/bascule/c/tree ro,relatime - ext4 /dev/loop0 rw
93 36 7:0 /sub /mnt/sub rw - ext4 /dev/loop0 rw
94 36 7:1 / /srv/other ro - ext4 /dev/loop1 ro
torn line
"""
PATH, PRIVATE = "/srv/course files", "/var/lib/bascule/c/tree"


def test_a_mount_table_is_read_as_the_kernel_writes_it() -> None:
    found = parse_mountinfo(TABLE)
    assert [one.path for one in found] == ["/", PATH, PRIVATE, "/mnt/sub", "/srv/other"]
    tree = mounted_at(found, PATH)
    assert tree is not None
    assert (tree.device, tree.kind, tree.read_only, tree.super_read_only) == ("7:0", "ext4", False, False)
    assert tree.super_options == ("rw", "errors=remount-ro")
    assert found[-1].super_read_only


def test_a_remount_repeats_the_flags_that_it_would_drop() -> None:
    found = parse_mountinfo(TABLE)
    assert found[1].flags == 2 | 1024
    assert found[0].flags == 1 << 21
    assert found[3].flags == 1 << 24


def test_the_last_mount_at_a_path_is_the_one_that_is_seen() -> None:
    lower, upper = mount("/srv", mount_id=1), mount("/srv", mount_id=2)
    assert mounted_at([lower, upper], "/srv") == upper
    assert mounted_at([lower], "/none") is None


def test_a_view_finds_every_way_to_the_tree() -> None:
    who = {"namespace": "mnt:[9]", "pid": "77", "command": "php", "unit": "php.service"}
    away = [mount(PATH, mount_id=7), mount(PRIVATE, mount_id=8)]
    view = mounts.view_of(PATH, PRIVATE, parse_mountinfo(TABLE), [(who, away)])
    assert view.state == ACTIVE
    assert view.private_mount is not None
    assert view.writable == [PATH, "/mnt/sub", f"{PATH} in the mount namespace of php.service (process 77)"]


def test_a_view_finds_what_is_mounted_inside_the_tree() -> None:
    table = [mount("/srv"), mount("/srv/b/c"), replace(mount("/srv/a"), device="0:9"), mount("/srv2"), mount("/srv")]
    assert mounts.view_of("/srv", PRIVATE, table).nested == ("/srv/a", "/srv/b/c")
    assert mounts.view_of(PATH, PRIVATE, parse_mountinfo(TABLE)).nested == ()


# As a btrfs shows its subvolumes: one device, several parts; and a tree that is the whole of it.
BTRFS = """36 25 0:30 /@ / rw - btrfs /dev/vda2 rw,subvol=/@
37 36 0:30 /@home /home rw - btrfs /dev/vda2 rw,subvol=/@home
38 36 0:30 /@home/u /mnt/u rw - btrfs /dev/vda2 rw,subvol=/@home
39 36 0:31 / /srv rw - btrfs /dev/vdb rw,subvol=/
40 36 0:31 /part /mnt/part rw - btrfs /dev/vdb rw,subvol=/
"""


def test_what_shares_the_file_system_with_the_tree_is_named() -> None:
    table = parse_mountinfo(BTRFS)
    shared = mounts.view_of("/home", PRIVATE, table).shared
    assert shared[0] == "/ (its part /@)"
    assert {"this host's /etc", "this host's /var/lib/bascule"} <= set(shared)
    assert not any("/mnt/u" in one for one in shared)
    # What is mounted of a tree is a part of it, and is fenced with it.
    assert mounts.view_of("/srv", PRIVATE, table).shared == ()
    who = {"namespace": "mnt:[9]", "pid": "77", "command": "init", "unit": "nspawn.service"}
    there = [replace(table[1], mount_id=99, root="/@machine", path="/")]
    apart = [replace(table[3], path="/"), table[1]]
    assert mounts.view_of("/home", PRIVATE, apart, [(who, there)]).shared == (
        "/ in the mount namespace of nspawn.service (process 77) (its part /@machine)",
    )


def test_a_tree_on_the_file_system_of_the_host_itself_is_named() -> None:
    """`mount --bind / /srv/courses` shows a whole file system as well."""
    table = parse_mountinfo("36 25 8:1 / / rw - ext4 /dev/a rw\n37 36 8:1 / /srv rw - ext4 /dev/a rw\n")
    assert "this host's /usr" in mounts.view_of("/srv", PRIVATE, table).shared
    table = parse_mountinfo("36 25 8:1 / / rw - ext4 /dev/a rw\n37 36 8:2 / /var rw - ext4 /dev/b rw\n")
    assert mounts.view_of("/var", "/var/lib/bascule/c/tree", table).shared == (
        "this host's /var",
        "this host's /var/lib/bascule",
        "this host's /var/log",
    )


def test_another_file_system_at_the_private_path_is_not_the_tree() -> None:
    other = replace(mount(PRIVATE), device="9:9")
    assert mounts.view_of(PATH, PRIVATE, [mount(PATH), other]).private_mount is None


def test_a_tree_that_is_not_mounted_is_refused() -> None:
    with pytest.raises(TreeError, match="no mount there"):
        mounts.steps(View(PATH, PRIVATE, None, None), FROZEN)
    with pytest.raises(TreeError, match="a state out of"):
        mounts.steps(View(PATH, PRIVATE, mount(PATH), None), "ajar")


def views() -> st.SearchStrategy[View]:
    flag = st.booleans()

    def build(super_ro: bool, public: bool, private: int, others: list[bool], away: list[bool]) -> View:
        inner = None if private == 0 else mount(PRIVATE, private == 1, super_ro, 2)
        return View(
            PATH,
            PRIVATE,
            mount(PATH, public, super_ro),
            inner,
            tuple(mount(f"/o{n}", ro, super_ro, 10 + n) for n, ro in enumerate(others)),
            tuple(
                Elsewhere(f"ns{n}", 100 + n, "x", "", mount(PATH, ro, super_ro, 20 + n)) for n, ro in enumerate(away)
            ),
        )

    return st.builds(build, flag, flag, st.integers(0, 2), st.lists(flag, max_size=2), st.lists(flag, max_size=2))


def after(view: View, step: Step) -> View:
    """Do a step to a view, as the kernel would."""

    def flagged(one: Mount, read_only: bool) -> Mount:
        return replace(one, options=("ro" if read_only else "rw", "relatime"))

    def supered(one: Mount) -> Mount:
        return replace(one, super_options=("ro" if step.read_only else "rw",))

    public, private = view.public_mount, view.private_mount
    assert public is not None
    if step.what == "private":
        return replace(view, private_mount=replace(public, path=PRIVATE, mount_id=2))
    if step.what == "super":
        assert private is not None
        return replace(
            view,
            public_mount=supered(public),
            private_mount=flagged(supered(private), step.read_only),
            others=tuple(map(supered, view.others)),
            elsewhere=tuple(replace(one, mount=supered(one.mount)) for one in view.elsewhere),
        )
    if step.elsewhere:
        away = [
            replace(o, mount=flagged(o.mount, step.read_only)) if o == step.elsewhere else o for o in view.elsewhere
        ]
        return replace(view, elsewhere=tuple(away))
    if step.path == PATH:
        return replace(view, public_mount=flagged(public, step.read_only))
    return replace(view, others=tuple(flagged(o, step.read_only) if o.path == step.path else o for o in view.others))


@given(views(), st.sampled_from(STATES))
def test_from_any_state_the_steps_lead_to_the_wanted_one_and_then_there_are_none(view: View, wanted: str) -> None:
    shut_all_along = wanted == PASSIVE and not view.writable
    for _ in range(3):
        todo = mounts.steps(view, wanted)
        for step in todo:
            view = after(view, step)
            # A passive tree must not be open for services for a moment on the way there.
            assert not shut_all_along or not view.writable
        if not todo:
            break
    assert mounts.steps(view, wanted) == []
    assert view.private_mount is not None
    if wanted == FROZEN:
        assert view.state in (FROZEN, CLOSED)
    else:
        assert view.state == wanted
    if wanted != ACTIVE:
        assert view.writable == []
    if wanted in (ACTIVE, PASSIVE):
        assert not view.private_mount.read_only


def test_opening_gives_back_exactly_the_mounts_that_closing_took() -> None:
    ours, theirs = mount("/o1", True, mount_id=11), mount("/o2", True, mount_id=12)
    away = tuple(Elsewhere(f"ns{n}", n, "x", "", mount(PATH, True, mount_id=20 + n)) for n in (1, 2))
    view = View(PATH, PRIVATE, mount(PATH, True), mount(PRIVATE), (ours, theirs), away)
    todo = mounts.steps(view, ACTIVE, [("", "/o1"), ("ns2", PATH)])
    assert [(step.path, step.elsewhere.namespace if step.elsewhere else "") for step in todo] == [
        (PATH, ""),
        ("/o1", ""),
        (PATH, "ns2"),
    ]


@pytest.mark.parametrize(("kind", "whole"), [("btrfs", [Step("super", PRIVATE)]), ("ext4", [])])
def test_a_part_that_a_boot_has_left_read_only_as_a_whole_receives_again(kind: str, whole: list[Step]) -> None:
    """A btrfs of which nothing but the closed tree is mounted; what others made read-only stays so."""
    boot = f"37 36 0:30 /@courses {PATH.replace(' ', '-')} ro - {kind} /dev/vda2 ro,subvol=/@courses\n"
    path = PATH.replace(" ", "-")
    fresh = mounts.view_of(path, PRIVATE, parse_mountinfo(boot), part=True)
    private = [Step("private", PRIVATE)]
    assert mounts.steps(fresh, PASSIVE) == [*private, *whole, Step("mount", PRIVATE)]
    assert mounts.steps(fresh, ACTIVE) == [*private, *whole, Step("mount", PRIVATE), Step("mount", path)]
    for closed in (FROZEN, CLOSED):
        assert mounts.steps(fresh, closed) == private
    awake = mounts.view_of(path, PRIVATE, parse_mountinfo(boot.replace("vda2 ro", "vda2 rw")), part=True)
    assert Step("super", PRIVATE) not in mounts.steps(awake, PASSIVE)
