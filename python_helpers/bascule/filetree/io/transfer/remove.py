"""Remove names from a passive tree that the active side does not have any more.

rsync has an option for that, `--delete-missing-args`. With it, receivers of 3.4.3, and of others that took over its
security fixes (such as 3.2.7-1+deb12u6 of Debian 12), end every transfer: "invalid file mode 00",
https://github.com/RsyncProject/rsync/issues/910. So names are removed here, and rsync hears of none of them.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from ....system.io.process import run
from ... import delta
from ...changes import ROOT
from ...transfer import TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import flush
from . import entries, kept, receivers

_TIMEOUT = 3600.0


def remove(side: Side, names: Sequence[bytes], keep: str, shared: str) -> int:
    """Remove names with all below them; return how many entries have gone.

    Args:
        side: the passive side, on this host.
        names: paths below the root of its tree.
        keep: directory beside which what is removed is kept; empty to keep nothing.
        shared: the state that the caller knew both sides had shared. Another one was agreed on since when somebody else
            has carried the tree over meanwhile, and what is asked then is out of date.

    Raises TransferError when nothing may be removed. Nobody begins a transfer, or agrees on a state, meanwhile.
    """
    kept.may_replace(side, keep)
    with receivers.changing(side):
        now = str(fence_side.facts(side).get("agreed", ""))
        if now != shared:
            raise TransferError(
                expected=f"both sides to have shared {shared or 'no state'}",
                found=now or "none",
                state="nothing was removed",
                next_command="run the same playbook again",
            )
        tree = entries.Tree(side.tree)
        there = [name for name in names if name != ROOT and tree.look(name) is not None]
        if not there:
            return 0
        # Whoever has proved what lies here before that cannot agree on it any more.
        fence_side.note(side, touched=True, removed=secrets.token_hex(8))
        if keep:
            with kept.numbered(keep) as place:
                _keep(side, there, place)
        return sum(_remove(tree, name) for name in there)


def _keep(side: Side, names: Sequence[bytes], place: Path) -> None:
    """Copy what is about to go, with everything that is known of it."""
    command = ["rsync", "--archive", "--hard-links", "--acls", "--sparse", "--numeric-ids", "--recursive"]
    # Twice, as in a transfer: once leaves out those of rsync's own --fake-super.
    command += ["--xattrs", "--xattrs"]
    listed = delta.list_for_rsync(names).decode("utf-8", "surrogateescape")
    try:
        run([*command, "--from0", "--files-from=-", f"{side.tree}/", f"{place}/"], stdin=listed, timeout=_TIMEOUT)
        # On the disk before the original goes.
        flush.sync(str(place))
    except BaseException:
        # Nothing was removed; a part of a copy would only fill the disk on which the guards lie.
        shutil.rmtree(place, ignore_errors=True)
        raise


def _remove(tree: entries.Tree, name: bytes) -> int:
    it = tree.look(name)
    if it is None:
        return 0
    if not it.directory:
        os.unlink(tree.full(name))
        return 1
    count = 1 + sum(1 for _ in tree.below(name))
    # Goes by open directories, so that no link that somebody puts there leads it elsewhere.
    shutil.rmtree(tree.full(name))
    return count
