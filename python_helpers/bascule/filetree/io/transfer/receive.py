"""Serve what the other side's key may do here, and nothing else: `files_receive COMPONENT` is its forced command.

A transfer is let in only while this side is closed, only into the private tree, and only from a side that was open
later; what this side held when it was closed is kept aside. Where the other side comes in by an account that is not
root, only a request that this host's SSH server has started is served: the account could type one by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....guard import state as rule
from ....guard.state import Epoch
from ....system.io import sshd, throughput
from ... import transfer
from ...mounts import PASSIVE
from ...transfer import NAMES, NUMBERS, Request, TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from . import account, receivers, scratch
from . import kept as transfer_kept

# Seconds after which a stream that measures the link is cut.
_LONGEST_STREAM = 60.0


def serve(component: str) -> int:
    """Serve the request in SSH_ORIGINAL_COMMAND."""
    side = fence_side.load(component)
    if side.account != account.ROOT:
        _check_way_in(side)
    command = os.environ.get("SSH_ORIGINAL_COMMAND", "")
    words = command.split(" ")
    if len(words) < 3 or words[0] not in (transfer.first_word(NUMBERS), transfer.first_word(NAMES)):
        raise TransferError(expected=f"a request of {component}'s other side", found=repr(command[:200]))
    if words[0] != transfer.first_word(side.owners):
        raise TransferError(
            expected=f"owners by {side.owners}, as prepare has set up {side.name}",
            found=f"a request of a side that was set up for {NUMBERS if side.owners == NAMES else NAMES}",
            state="nothing was received",
            next_command=f"ansible-playbook playbooks/20_prepare.yml --limit {component}, which sets up both alike",
        )
    what = " ".join(words[2:])
    if what == "hello":
        return _answer({"component": component, "side": side.name, "status": side.guard().status})
    if what == transfer.RATE:
        return _swallow()
    if what == scratch.ASK:
        return _answer(scratch.told(side))
    if scratch.is_asked(side, words):
        sys.stdout.flush()
        return scratch.receive(side, command)
    _check_permit(side, words[1])
    if what in ("fetch own", "fetch verify"):
        return _send(side.manifest.with_name(f"{words[3]}.jsonl"))
    with fence_side.receiving(side):
        if words[2] == "--server":
            return _receive(side, command)
        # An rsync is waited for in the window, and needs none of these.
        from ..manifest import cache, take
        from . import peer, verify

        if what == "manifest":
            # Their parts are listed with all the rest; until the comparison has dealt with that, nothing is agreed.
            dead = receivers.end(side)
            if dead:
                fence_side.note(side, agreed="")
            if side.guard().status in (rule.CLOSED, rule.CLOSING) and fence_side.look(side).state == PASSIVE:
                take.sweep_partial(side.tree)
            digest, count = cache.take_still(side)
            receivers.forget(side, dead)
            return _answer({"manifest": digest, **count.to_dict()})
        if words[2] == verify.REREAD and len(words) == 4:
            return _answer(verify.answer(side, words[3]))
        if what == peer.TALK:
            return peer.serve(side, sys.stdin.buffer, sys.stdout.buffer)
        return _receive(side, command)


def _check_way_in(side: Side) -> None:
    way = sshd.way_in(os.getpid(), pwd.getpwnam(side.account).pw_uid)
    if not way.by_server:
        raise TransferError(
            expected=f"a request that the SSH server of {side.name}, which runs as root, has started for the account "
            f"{side.account}: it is let in for nothing else",
            found=f"one that was started by {', by '.join(way.names) or 'nobody who is seen here'}",
            state="nothing was looked at or received",
            next_command=f"find out who runs programs as {side.account} (ps -u {side.account}); a transfer is begun at "
            f"the other side: ansible-playbook playbooks/30_sync.yml --limit {side.component}",
        )


def _check_permit(side: Side, opened: str) -> None:
    guard = side.guard()
    own = rule.last_open(guard)
    behind = opened != "none" and (own is None or Epoch.parse(opened) > own)
    if guard.status not in (rule.CLOSED, rule.CLOSING) or not behind:
        raise TransferError(
            expected=f"a closed side that was open before epoch {opened}",
            found=guard.describe(),
            state="nothing was received",
            next_command="ansible-playbook playbooks/status.yml",
        )


def _receive(side: Side, command: str) -> int:
    request = transfer.parse_request(command, side.tree, str(side.kept), side.owners)
    if not request.dry_run:
        state = fence_side.look(side).state
        if state != PASSIVE:
            raise TransferError(
                expected=f"a passive tree at {side.path}", found=f"it is {state}", state="nothing was received"
            )
        transfer_kept.may_replace(side, request.backup_dir)
    # The inherited descriptor of the lock lives as long as rsync does, also when this process is killed.
    sys.stdout.flush()
    if request.dry_run:
        return subprocess.run(request.argv, check=False, close_fds=False, cwd="/").returncode
    reach = receivers.NAMED if transfer.BY_NAMES in request.argv else receivers.WHOLE
    with receivers.begun(side, reach) as receiver, _keeping(request) as argv:
        code = subprocess.run(argv, check=False, close_fds=False, cwd="/").returncode
        receiver.ended(code)
    # Killed: the other side, whose rsync may end with this status, is to see what it is, a broken stream.
    return code if code >= 0 else transfer.STREAM_BROKEN


@contextlib.contextmanager
def _keeping(request: Request) -> Iterator[list[str]]:
    """Give the command a directory of its own for what it replaces."""
    argv, asked = list(request.argv), request.backup_dir
    if not asked:
        yield argv
        return
    with transfer_kept.numbered(asked) as kept:
        yield [word.replace(asked, str(kept)) if word.endswith(asked) else word for word in argv]


def _swallow() -> int:
    """Read a stream that measures the link, keep nothing of it, and say how it came."""
    told = throughput.collect(lambda into: os.readv(0, [into]), time.monotonic() + _LONGEST_STREAM)
    sys.stdout.write(told.decode("ascii") + "\n")
    return 0


def _answer(data: dict[str, Any]) -> int:
    sys.stdout.write(json.dumps(data) + "\n")
    return 0


def _send(path: Path) -> int:
    if not path.exists():
        raise TransferError(expected="a manifest taken before", found=f"no {path.name}")
    with path.open("rb") as stream:
        shutil.copyfileobj(stream, sys.stdout.buffer)
    sys.stdout.flush()
    return 0
