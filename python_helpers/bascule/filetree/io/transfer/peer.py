"""Ask the other side several things over one connection, and answer them there.

A question is a line of JSON with the size of what follows it, and so is an answer. The connection stands before it is
needed: what is asked in the window costs a round trip, not a handshake and the start of a program.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Optional

from ....errors import BasculeError
from ....system.io import storage
from ... import delta, transfer
from ...manifest import printable
from ...mounts import PASSIVE
from ...transfer import LinkBroken, Push, TransferError
from ..fence import side as fence_side
from ..fence.side import Side
from ..manifest import flush, take
from . import entries, receivers
from . import owners as transfer_owners
from . import remove as transfer_remove

TALK = "talk"
_CONNECT = 10.0
_RETRIES = 3
_LIMIT = 1 << 30
_NAMED = 10


@contextlib.contextmanager
def connection(side: Side, asked: Push) -> Iterator[Push]:
    """Keep one SSH connection open for everything that is asked meanwhile; without it each makes its own."""
    control = side.identity.with_name("control")
    control.unlink(missing_ok=True)
    push = replace(asked, control=str(control))
    command = [*transfer.ssh_command(push), "-M", "-N", f"{push.account}@{push.address}"]
    nothing = subprocess.DEVNULL
    master = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        deadline = time.monotonic() + _CONNECT
        while not control.exists() and master.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        yield push
    finally:
        master.terminate()
        try:
            master.wait(timeout=5)
        except subprocess.TimeoutExpired:
            master.kill()
            master.wait()
        control.unlink(missing_ok=True)


@contextlib.contextmanager
def talk(asked: Push) -> Iterator[Talk]:
    """Begin a conversation, and end it."""
    command = [
        *transfer.ssh_command(asked),
        f"{asked.account}@{asked.address}",
        f"{transfer.request(asked)} {TALK}",
    ]
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors)
        try:
            yield Talk(process, errors)
        finally:
            for stream in (process.stdin, process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_cap(conversation: Talk, asked: Push, missing: Sequence[bytes]) -> int:
    """Return how much of what is missing here still stands there; more than the cap allows is an error.

    A name that came and went since both sides shared a state was never there, and a directory takes along what is
    below it: only the other side can count.
    """
    if not missing:
        return 0
    count, some = conversation.standing(missing)
    if count > asked.max_delete:
        raise TransferError(
            expected=f"at most {asked.max_delete} deletions",
            found=f"more deletions than the cap allows: {count} names are gone at the active side, "
            f"{', '.join(printable(name) for name in some)} among them",
            state="nothing of it was deleted",
            next_command="look at what was deleted at the active side; if it was meant, raise "
            "rsync_delta_sync_max_delete",
        )
    return count


def remove(asked: Push, names: Sequence[bytes]) -> int:
    """Have the other side remove names, in a conversation of its own; return how much went."""
    if not names:
        return 0
    attempt = 0
    while True:
        try:
            with talk(asked) as conversation:
                conversation.agreed()
                check_cap(conversation, asked, names)
                return conversation.remove(names, asked.backup_dir)
        except LinkBroken:
            attempt += 1
            if attempt > _RETRIES:
                raise
            time.sleep(attempt)


class Talk:
    """This side of the conversation."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors
        # Whether the other side knows of transfers that have not ended well, and which of them write no more.
        self.unclean = False
        self.ended: set[str] = set()

    def agreed(self) -> str:
        """Return the name of the state that the other side knows it has shared with this one last; empty for none."""
        self.send("agreed")
        header = self.answer()[0]
        self.unclean = bool(header.get("unclean"))
        return str(header.get("agreed", ""))

    def agree(self, name: str) -> None:
        """Have the other side keep the name of the state that both share now, what was ended included."""
        self.send("agree", agreed=name, ended=sorted(self.ended))
        self.answer()

    def names_below(self, directories: Sequence[bytes]) -> list[bytes]:
        """Return what the other side has in some directories."""
        self.send("list", _joined(directories))
        return _split(self.answer()[1])

    def names_in(self, directories: Sequence[bytes]) -> list[bytes]:
        """Return what lies in some directories at the other side, and not what is below that."""
        self.send("entries", _joined(directories))
        return _split(self.answer()[1])

    def standing(self, names: Sequence[bytes]) -> tuple[int, list[bytes]]:
        """Return how much would go at the other side with these names, what is below them included, and a few of it."""
        self.send("standing", _joined(names))
        header, payload = self.answer()
        return int(header["count"]), _split(payload)

    def remove(self, names: Sequence[bytes], keep: str) -> int:
        """Have the other side remove names, kept beside the directory `keep` if there is one; return how much went.

        Only after `agreed`: what is asked holds for the state that both have shared then.
        """
        self.send("remove", _joined(names), keep=keep)
        header = self.answer()[0]
        if header.get("refused"):
            raise TransferError(
                expected=f"the other side to remove {len(names)} names that this one has no longer",
                found=str(header["refused"]),
                state="the active side was only read; the passive side may be partly updated",
                next_command="put that right at the other side, then run the same playbook again",
            )
        return int(header["count"])

    def unmatched(self, owners: dict[str, list[str]]) -> list[str]:
        """Return which of these owners would be somebody else at the other side, or nobody."""
        self.send("owners", json.dumps(owners).encode("ascii"))
        return [str(one) for one in self.answer()[0].get("unmatched", [])]

    def give_root(self, attributes: dict[str, Any]) -> None:
        """Have the other side's root take these attributes."""
        self.send("root", json.dumps(attributes).encode("ascii"))
        self.answer()

    def prove(self, names: Sequence[bytes]) -> None:
        """Ask what these names are at the other side; the answer is waited for apart."""
        self.send("prove", _joined(names), partial=transfer.PARTIAL_DIR)

    def proofs(self) -> list[str]:
        """Return the answer to `prove`."""
        header, payload = self.answer()
        self.ended |= {str(one) for one in header.get("ended", [])}
        return [one.decode("ascii") for one in payload.split(b"\n")[:-1]]

    def kept(self, directory: str) -> list[str]:
        """Return where the other side has kept what this transfer has replaced: each attempt has a place of its own."""
        self.send("kept", os.fsencode(directory))
        return [os.fsdecode(one) for one in _split(self.answer()[1])]

    def send(self, do: str, payload: bytes = b"", **more: Any) -> None:
        """Ask something."""
        try:
            if self._process.stdin:
                _put(self._process.stdin, {"do": do, **more}, payload)
        except OSError as error:
            raise self._broken() from error

    def answer(self) -> tuple[dict[str, Any], bytes]:
        """Wait for the answer."""
        found = _get(self._process.stdout) if self._process.stdout else None
        if found is None:
            raise self._broken()
        return found

    def _broken(self) -> LinkBroken:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._errors.seek(0)
        words = self._errors.read().decode("utf-8", "backslashreplace").strip()[-1500:]
        return LinkBroken(
            expected="the other side to answer",
            found=f"the connection ended; {words or 'it said nothing'}",
            state="the active side was only read; the passive side may be partly updated",
            next_command="run the same playbook again: what was transferred stays",
        )


def serve(side: Side, source: IO[bytes], target: IO[bytes]) -> int:
    """Answer until the other side hangs up."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        return _serve(side, source, target, beside)


def _serve(side: Side, source: IO[bytes], target: IO[bytes], beside: ThreadPoolExecutor) -> int:
    written: Optional[Future[None]] = None
    shared: Optional[str] = None
    removed = fence_side.facts(side).get("removed")
    while True:
        question = _get(source)
        if question is None:
            return 0
        asked, payload = question
        do = asked.get("do")
        answer: dict[str, Any] = {}
        out = b""
        if do == "agreed":
            dead = receivers.dead(side)
            anywhere = receivers.had_the_whole_tree(dead)
            shared = str(fence_side.facts(side).get("agreed", ""))
            answer["agreed"] = "" if anywhere else shared
            answer["unclean"] = bool(dead)
        elif do == "agree":
            if written is not None:
                written.result()
            # Once more: whatever came since. Most of it is there already, so this is short.
            flush.settle(side)
            _agree(side, str(asked.get("agreed", "")), {str(one) for one in asked.get("ended", [])}, removed)
        elif do == "owners":
            answer["unmatched"] = transfer_owners.unmatched(side, json.loads(payload))
        elif do == "root":
            _check_passive(side)
            fence_side.note(side, touched=True)
            entries.give_attributes(side.tree, json.loads(payload))
        elif do == "list":
            out = _joined(entries.names_below(side.tree, _inside(_split(payload))))
        elif do == "entries":
            out = _joined(entries.names_in(side.tree, _inside(_split(payload)), take.PARTIAL))
        elif do == "standing":
            there = entries.standing(side.tree, _inside(_split(payload)))
            out = _joined(itertools.islice(there, _NAMED))
            answer["count"] = out.count(b"\0") + sum(1 for _ in there)
        elif do == "remove":
            _check_passive(side)
            keep = str(asked.get("keep", ""))
            if shared is None or (keep and not transfer.is_kept(keep, str(side.kept))):
                raise TransferError(expected=f"'agreed' first, and a directory in {side.kept}", found=repr(keep[:200]))
            try:
                answer["count"] = transfer_remove.remove(side, _inside(_split(payload)), keep, shared)
            except (BasculeError, OSError) as error:
                # An answer, as the connection is well.
                answer["refused"] = str(error)
            removed = fence_side.facts(side).get("removed")
        elif do == "prove":
            _check_passive(side)
            names = _inside(_split(payload))
            answer["ended"] = receivers.end(side)
            removed = fence_side.facts(side).get("removed")
            entries.sweep_partial(side.tree, names, take.PARTIAL)
            # While the names are read, what was received goes to the disk: who agrees then hardly waits for it.
            written = beside.submit(flush.settle, side)
            found = entries.Tree(side.tree, side.owners).fingerprints(names)
            out = b"".join(one.encode("ascii") + b"\n" for one in found)
        elif do == "kept":
            out = _joined(os.fsencode(one) for one in _kept(side, Path(os.fsdecode(payload))))
        else:
            raise TransferError(
                expected="a question out of agreed, agree, owners, root, list, entries, standing, remove, prove, kept",
                found=repr(do),
            )
        _put(target, answer, out)


def _agree(side: Side, name: str, dealt_with: set[str], removed: object) -> None:
    with receivers.changing(side):
        if fence_side.facts(side).get("removed") != removed:
            raise TransferError(
                expected=f"nobody else to remove names in {side.path}",
                found="one whose connection was lost has done so just now",
                state="nothing was agreed on",
                next_command="run the same playbook again, which looks at these names once more",
            )
        others = set(receivers.standing(side)) - dealt_with
        if others:
            receivers.end(side)
            raise TransferError(
                expected=f"no other transfer into {side.path}",
                found=f"one that has not ended well: {', '.join(sorted(others))}",
                state="nothing was agreed on; it was ended",
                next_command="run the same playbook again, which looks at what it left",
            )
        fence_side.note(side, agreed=name, agreed_at=int(time.time()), touched=False)
        receivers.forget(side, dealt_with)


def _kept(side: Side, asked: Path) -> list[str]:
    if asked.parent.parent != side.kept or ".." in asked.parts:
        raise TransferError(expected=f"a directory in {side.kept}", found=repr(str(asked)[:200]))
    return [str(one) for one in storage.children(asked.parent) if one.name.isdigit() and one.name >= asked.name]


def _check_passive(side: Side) -> None:
    state = fence_side.look(side).state
    if state != PASSIVE:
        raise TransferError(expected=f"a passive tree at {side.path}", found=f"it is {state}")


def _inside(names: list[bytes]) -> list[bytes]:
    outside = [name for name in names if not delta.is_inside(name)]
    if outside:
        raise TransferError(expected="names below the root of the tree", found=repr(outside[0][:200]))
    return names


def _put(stream: IO[bytes], header: dict[str, Any], payload: bytes) -> None:
    stream.write(json.dumps({**header, "size": len(payload)}).encode("ascii") + b"\n" + payload)
    stream.flush()


def _get(stream: IO[bytes]) -> Optional[tuple[dict[str, Any], bytes]]:
    """Read one message; None when there is no other."""
    line = stream.readline(65536)
    if not line.endswith(b"\n"):
        return None
    try:
        header = json.loads(line)
        size = int(header["size"])
    except (ValueError, KeyError, TypeError):
        return None
    if not 0 <= size <= _LIMIT:
        return None
    payload = stream.read(size)
    return (header, payload) if len(payload) == size else None


def _joined(names: Sequence[bytes] | Iterator[bytes]) -> bytes:
    return b"".join(name + b"\0" for name in names)


def _split(payload: bytes) -> list[bytes]:
    return payload.split(b"\0")[:-1]
