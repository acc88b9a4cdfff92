"""How rsync is called at both ends, and what its output means.

Pure. The pushing side builds the command; the receiving side lets in exactly what such a command asks of it, into its
private tree only, whatever the other side's machine has become.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..errors import BasculeError

RECEIVE = "bascule-receive"
# How owners travel and are compared: by their numbers, or by what these are called at each side.
NUMBERS, NAMES = "numbers", "names"
# The request that measures the link: what is sent is thrown away, so it needs no permit.
RATE = "rate"
PARTIAL_DIR = ".bascule-partial"
# Extended attributes that are a file system's own. xfs shows each ACL once more to root, where it stores it: what comes
# from another file system has none, so rsync would remove it, with the ACL itself. btrfs shows its properties.
OF_THE_FILE_SYSTEM = ("trusted.SGI_ACL_", "btrfs.")
# With a rule of one's own rsync drops that for "system.". A receiver that deletes nothing is told no rules by the other
# side, hence it is given them here.
_XATTR_RULES = tuple(f"--filter=-x {prefix}*" for prefix in ("system.", *OF_THE_FILE_SYSTEM))
# What is no directory any more replaces one that is not empty. Only a transfer by names has it.
BY_NAMES = "--force"
# What an operation that waits for its tree to stand still says of itself.
ARMED = "connected, and waiting for the tree to stand still"
STREAM_BROKEN, VANISHED, DELETION_CAP = 12, 24, 25
# Protocol stream, sockets, timeouts, ssh itself: the link, not the trees.
LINK_FAILURES = (10, STREAM_BROKEN, 20, 30, 35, 255)

_MEANING = {
    1: "rsync did not understand its options",
    11: "a file could not be read or written, or the disk is full",
    23: "some files could not be transferred",
    24: "files vanished while they were read",
    25: "more deletions than the cap allows",
}
_PROGRESS = re.compile(r"^\s*([\d,]+)\s+(\d+)%\s+([\d.]+)([kKMGT]?)B/s\s+(\d+:\d\d:\d\d)")
_CHANGE = re.compile(r"^[<>ch.][fdLDS]\S{9} ")
_UNITS = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_STATS = {
    "files_seen": "Number of files",
    "files_created": "Number of created files",
    "files_deleted": "Number of deleted files",
    "files_transferred": "Number of regular files transferred",
    "bytes_total": "Total file size",
    "bytes_changed": "Total transferred file size",
    "bytes_literal": "Literal data",
    "bytes_sent": "Total bytes sent",
}
_BY_NUMBER = "--numeric-ids"
_LONG_OPTIONS = re.compile(
    r"^--(?:server|delete-delay|delete-after|delete|numeric-ids|partial|checksum|backup|fake-super|log-format=[%a-zA-Z]*"
    r"|out-format=[%a-zA-Z]*|info=[A-Za-z0-9,]+|stats|timeout=\d+|max-delete=\d+|bwlimit=\d+|msgs2stderr|no-msgs2stderr"
    r"|force|modify-window=-1|one-file-system|partial-dir|partial-dir="
    + re.escape(PARTIAL_DIR)
    + r"|backup-dir|backup-dir=\S+)$"
)
# The letters of the command above, and after "e" what the other rsync can do. No -K or -L: nothing that lets a symbolic
# link inside the tree lead a write out of it. -R comes with a list of names; the directories above each are sent as
# well, and what is no directory here is replaced by one, never followed. -@ is --modify-window.
_SHORT_OPTIONS = re.compile(r"^(?:-[bnvlHogDtpAXrRcxSI]+(e[0-9.][a-zA-Z]*)?|-@-1)$")


class TransferError(BasculeError):
    """A transfer failed, or asked for what the receiving side does not give."""


class LinkBroken(TransferError):
    """The connection to the other side has ended; what was transferred stays."""


@dataclass(frozen=True)
class Push:
    """One transfer, as it is asked for."""

    component: str
    source: str
    target: str
    address: str
    identity: str
    known_hosts: str
    opened: str = ""
    backup_dir: str = ""
    max_delete: int = 1000
    bwlimit: str = "0"
    checksum: bool = False
    dry_run: bool = False
    timeout: int = 60
    port: int = 22
    # A connection that is open already; without it each command makes its own.
    control: str = ""
    # A file with the names to carry, NUL after each; without it the whole tree is looked at.
    names: str = ""
    # Write every name again, also what looks the same.
    rewrite: bool = False
    owners: str = NUMBERS
    # Who one comes in as at the other side.
    account: str = "root"


def first_word(owners: str) -> str:
    """Return the first word of all that is asked of the other side; it says how both tell owners."""
    return f"{RECEIVE}-{NAMES}" if owners == NAMES else RECEIVE


def request(push: Push) -> str:
    """Return how everything that is asked of the other side begins: this word, and the permit."""
    return f"{first_word(push.owners)} {push.opened or 'none'}"


def ssh_command(push: Push) -> list[str]:
    """Return the ssh command that reaches the other side: pinned host keys, one key, no shell."""
    return [
        "ssh",
        "-F/dev/null",
        f"-i{push.identity}",
        f"-p{push.port}",
        "-oIdentitiesOnly=yes",
        "-oBatchMode=yes",
        "-oStrictHostKeyChecking=yes",
        f"-oUserKnownHostsFile={push.known_hosts}",
        "-oGlobalKnownHostsFile=/dev/null",
        f"-oHostKeyAlias={push.component}",
        "-oUpdateHostKeys=no",
        "-oConnectTimeout=10",
        "-oServerAliveInterval=10",
        "-oServerAliveCountMax=3",
        *([f"-oControlPath={push.control}"] if push.control else []),
    ]


def rsync_command(push: Push) -> list[str]:
    """Return the rsync command of a transfer; both trees end with a slash, so that contents go to contents."""
    command = [
        "rsync",
        "--archive",
        "--hard-links",
        "--acls",
        # Twice: once leaves out those of rsync's own --fake-super, which a tree of backups is full of.
        "--xattrs",
        "--xattrs",
        *_XATTR_RULES,
        "--sparse",
        *([] if push.owners == NAMES else [_BY_NUMBER]),
        "--one-file-system",
        f"--max-delete={push.max_delete}",
        # Times to the nanosecond: by the second, a change within the same one and of the same size is missed.
        "--modify-window=-1",
        *_how(push),
        f"--partial-dir={PARTIAL_DIR}",
        f"--timeout={push.timeout}",
        "--info=progress2,stats2,name0",
        "--out-format=%i %n",
        "--no-human-readable",
        f"--rsh={shlex.join(ssh_command(push))}",
        # The forced command at the other side reads it.
        f"--rsync-path={request(push)}",
    ]
    if push.bwlimit not in ("", "0"):
        command.append(f"--bwlimit={push.bwlimit}")
    if push.checksum:
        command.append("--checksum")
    if push.rewrite:
        command.append("--ignore-times")
    if push.backup_dir:
        command += ["--backup", f"--backup-dir={push.backup_dir}"]
    if push.dry_run:
        command.append("--dry-run")
    return [
        *command,
        f"{push.source.rstrip('/')}/",
        f"{push.account}@{_bracket(push.address)}:{push.target.rstrip('/')}/",
    ]


def _how(push: Push) -> list[str]:
    if push.names:
        # A name that the source has no longer is removed apart from this, and one that vanishes now in the next delta.
        return ["--from0", f"--files-from={push.names}", "--ignore-missing-args", BY_NAMES]
    # lost+found belongs to each file system itself.
    return ["--delete-delay", "--exclude=/lost+found"]


def parse_progress(line: str) -> Optional[dict[str, Any]]:
    """Read a line of --info=progress2: bytes so far, per cent, rate, remaining time."""
    match = _PROGRESS.match(line)
    if not match:
        return None
    return {
        "bytes": int(match.group(1).replace(",", "")),
        "percent": int(match.group(2)),
        "rate_bytes": int(float(match.group(3)) * _UNITS[match.group(4)]),
        "remaining": match.group(5),
    }


def parse_stats(text: str) -> dict[str, int]:
    """Read the figures of --stats; one that is missing is missing, not 0."""
    found: dict[str, int] = {}
    for name, label in _STATS.items():
        match = re.search(rf"^{re.escape(label)}: ([\d,]+)", text, re.MULTILINE)
        if match:
            found[name] = int(match.group(1).replace(",", ""))
    return found


def is_change(line: str) -> bool:
    """Tell whether a line of --out-format=%i says that something was, or would be, changed at the other side."""
    return line.startswith("*deleting") or _CHANGE.match(line) is not None


def judge(rc: int, stderr: str, final: bool, max_delete: int) -> None:
    """Raise unless the exit status is one to go on with."""
    if rc == 0 or (rc == VANISHED and not final):
        return
    meaning = _MEANING.get(rc, "the link failed" if rc in LINK_FAILURES else "rsync failed")
    next_command = "run the same playbook again: what was transferred stays, also parts of large files"
    if rc == DELETION_CAP:
        meaning += f" (max_delete {max_delete}); nothing beyond the cap was deleted"
        next_command = "look at what was deleted at the active side; if it was meant, raise rsync_delta_sync_max_delete"
    if rc == VANISHED:
        meaning += ", in a tree that should stand still"
        next_command = "find out who writes there, freeze again, then run the same playbook again"
    raise TransferError(
        expected="rsync to end with exit status 0" + ("" if final else f" or {VANISHED}"),
        found=f"exit status {rc}: {meaning}; {stderr.strip()[-1500:] or 'no message'}",
        state="the active side was only read; the passive side may be partly updated",
        next_command=next_command,
    )


@dataclass(frozen=True)
class Request:
    """What a pushing rsync asks of the receiving side."""

    opened: str
    argv: tuple[str, ...]
    dry_run: bool
    backup_dir: str


def parse_request(command: str, tree: str, kept: str, owners: str = NUMBERS) -> Request:
    """Read the command the other side asked for; anything but a transfer into the private tree is refused."""

    def refuse(found: str) -> TransferError:
        return TransferError(
            expected=f"a transfer into {tree}", found=found, state="nothing was received", next_command=""
        )

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise refuse(f"a command that cannot be read ({error})") from error
    if len(words) < 6 or words[0] != first_word(owners) or words[2] != "--server":
        raise refuse(f"{command[:200]!r}")
    options, dot, path = words[2:-2], words[-2], words[-1]
    if dot != "." or path.rstrip("/") != tree.rstrip("/"):
        raise refuse(f"the path {path!r}")
    if (_BY_NUMBER in options) != (owners == NUMBERS):
        raise refuse(f"owners by {NUMBERS if _BY_NUMBER in options else NAMES} instead of {owners}")
    backup_dir = ""
    dry_run = False
    rest = iter(options)
    for word in rest:
        if word.startswith("--"):
            if not _LONG_OPTIONS.match(word):
                raise refuse(f"the option {word!r}")
            name, equals, value = word.partition("=")
            if name in ("--backup-dir", "--partial-dir"):
                value = value if equals else next(rest, "")
                if name == "--partial-dir" and value != PARTIAL_DIR:
                    raise refuse(f"the directory for parts {value!r}")
                if name == "--backup-dir":
                    backup_dir = value
        elif not _SHORT_OPTIONS.match(word):
            raise refuse(f"the option {word!r}")
        else:
            # "-e.LsfxCIvu" tells capabilities; only letters before it are options.
            dry_run = dry_run or "n" in word.partition("e")[0]
    if backup_dir and not is_kept(backup_dir, kept):
        raise refuse(f"the directory for what is kept {backup_dir!r}")
    return Request(words[1], ("rsync", words[2], *_XATTR_RULES, *words[3:]), dry_run, backup_dir)


def is_kept(directory: str, kept: str) -> bool:
    """Tell whether a directory is one of those in which `kept` holds what a transfer replaces."""
    return re.fullmatch(re.escape(kept.rstrip("/")) + r"/\d+\.[0-9A-Za-z]+/\d{4}", directory) is not None


def push_from(data: Mapping[str, Any]) -> Push:
    """Read a push from plain types; what is not known is refused, so that no option is dropped in silence."""
    known = set(Push.__dataclass_fields__)
    unknown = set(data) - known
    if unknown:
        raise TransferError(expected=f"the fields {', '.join(sorted(known))}", found=", ".join(sorted(unknown)))
    return Push(**data)


def _bracket(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def describe_progress(progress: Mapping[str, Any]) -> str:
    """Return how far an operation is, for people."""
    stage = str(progress.get("stage", ""))
    if stage == "transfer":
        rate = int(progress.get("rate_bytes", 0)) / 1e6
        size = int(progress.get("bytes", 0)) / 1e6
        return f"{size:.0f} MB, {progress.get('percent')} %, {rate:.1f} MB/s, {progress.get('remaining')} left"
    if "files" in progress:
        text = f"{stage}: {progress['files']} entries, {int(progress.get('bytes', 0)) / 1e6:.0f} MB"
        if "rate_bytes" in progress:
            text += f", {int(progress['rate_bytes']) / 1e6:.0f} MB/s, about {progress.get('remaining')} left"
        return text
    message = str(progress.get("message", ""))
    return f"{stage}: {message}" if message else stage
