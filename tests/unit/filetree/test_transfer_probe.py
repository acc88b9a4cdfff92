"""The trial of a transfer finds an rsync that does not do what transfers rely on, whatever its version says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from bascule.filetree import audit, transfer
from bascule.filetree.io.transfer import probe
from bascule.system.io import process
from bascule.system.io.process import Result


def without(*words: str) -> Any:
    """Return an rsync that does not know some options and says nothing of it."""

    def runner(argv: Sequence[str], **more: Any) -> Result:
        return process.run([word for word in argv if not word.startswith(words)], **more)

    return runner


@pytest.mark.parametrize("owners", [transfer.NUMBERS, transfer.NAMES])
def test_the_rsync_of_this_machine_does_what_is_asked(owners: str) -> None:
    assert probe.faults(owners) == []


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("--hard-links", "its result differs"),
        ("--acls", "its result differs: "),
        ("--xattrs", "its result differs: "),
        ("--archive", "fails: exit status"),
        ("--modify-window=-1", "by names ends well, and its result differs"),
        ("--delete-delay", "gone: is left over"),
        ("--backup", "what a transfer replaces is not kept"),
        (transfer.BY_NAMES, "a transfer by names fails"),
        ("--numeric-ids", "asks of the other side what no receiver lets in: owners by names"),
        ("--dry-run", "a preview changes what it looks at"),
        ("--checksum", "a preview does not tell what it has changed"),
        ("--ignore-times", "writes again what looks the same ends well, and its result differs"),
        ("--out-format=%i %n", "does not tell what it has changed"),
        ("--info=progress2,stats2,name0", "gives no figures that can be read"),
    ],
)
def test_an_option_that_does_nothing_is_found_by_the_result(missing: str, said: str) -> None:
    found = probe.faults(runner=without(missing))
    assert any(said in one for one in found), found


def test_an_rsync_that_refuses_an_option_is_quoted() -> None:
    def refuses(argv: Sequence[str], **_: Any) -> Result:
        return Result(tuple(argv), 2, "", "invalid file mode 00\n at flist.c")

    found = probe.faults(runner=refuses)
    assert found[0] == "a transfer of the whole tree fails: exit status 2: invalid file mode 00 at flist.c"
    said = audit.faults(
        "a", {}, "b", {"survey": {"transfer_faults": found}}, room_percent=0, clock_difference=0, clock_limit=1
    )
    assert f"on b, {found[0]}" in said
