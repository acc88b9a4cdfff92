"""The key of this controller that signs journals and evidence, and how something is signed: by OpenSSH alone.

The key is made when it is needed first, and lies beside the runs (`runs/.signing/key`, mode 0600); it leaves this
machine never. `runs/.signing/allowed_signers` names its public part; a person adds those of other controllers there.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ...errors import BasculeError
from ...system.io import process, storage
from .. import seals
from .journal import Journal

# What an archive's list of digests is signed for.
EVIDENCE = "bascule-evidence"
# Below the runs: no run's name begins with a dot.
_BELOW, _KEY, _SIGNERS = ".signing", "key", "allowed_signers"
_SECONDS = 20.0
# The key lies here: no agent is asked, which may be at the other end of a link that is gone, and no person.
_ALONE = {"SSH_AUTH_SOCK": "", "SSH_ASKPASS": "", "DISPLAY": "", "SSH_ASKPASS_REQUIRE": "never"}


def public(runs: Path, controller: str) -> str:
    """Return the public key (`ssh-ed25519 AAAA…`), and make the key where there is none.

    Args:
        runs: where the runs lie.
        controller: the name of this machine, which stands beside the key in `allowed_signers`.

    Raises:
        BasculeError: the key cannot be made or read.
    """
    return " ".join((storage.read_text(_made(runs, controller).with_suffix(".pub")) or "").split()[:2])


def signers(runs: Path, controller: str) -> str:
    """Return the text of `allowed_signers`."""
    _made(runs, controller)
    return storage.read_text(runs / _BELOW / _SIGNERS) or ""


def sign(runs: Path, controller: str, text: str, namespace: str) -> str:
    """Return the signature of a text, as `ssh-keygen -Y sign` writes it."""
    # With an empty passphrase one that has another fails at once, instead of asking at the terminal.
    line = ["ssh-keygen", "-Y", "sign", "-P", "", "-f", str(_made(runs, controller)), "-n", namespace]
    return process.run(line, stdin=text, timeout=_SECONDS, env=_ALONE).stdout


def seal(journal: Journal, *, last: bool = False, phase: str = "") -> str:
    """Write a seal of the chain so far; return why there is none, or nothing.

    What cannot be sealed holds up nobody: the evidence says then that it is not proved.

    Args:
        journal: the journal of this process.
        last: whether the chain ends here.
        phase: the phase under way; without it that of the entry before.
    """
    try:
        head = journal.head()
        if head is None:
            return ""
        key = public(journal.runs, journal.controller)
        signature = sign(journal.runs, journal.controller, seals.text(head, last), seals.NAMESPACE)
        # What is only audited stays here, and its seal with it.
        whose = phase or str(head["phase"] or head["data"].get("phase") or "")
        journal.append("state", phase=whose, data=seals.data(head, last, key, signature))
    except (BasculeError, OSError) as error:
        return f"The journal was not sealed, so its end is not proved: {' '.join(str(error).split())}"
    return ""


def _made(runs: Path, controller: str) -> Path:
    """Return the private key, which is made where there is none; two processes at once make one."""
    folder = runs / _BELOW
    key = folder / _KEY
    if not storage.is_file(folder / _SIGNERS):
        storage.make_directory(folder, 0o700)
        with storage.locked(folder / "lock"):
            if not storage.is_file(key):
                _make(folder, controller)
            words = (storage.read_text(key.with_suffix(".pub")) or "").split()[:2]
            allowed = f'{controller} namespaces="{seals.NAMESPACE},{EVIDENCE}" {" ".join(words)}\n'
            storage.write_durably(folder / _SIGNERS, allowed)
    return key


def _make(folder: Path, controller: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        made = Path(place, _KEY)
        comment = f"{seals.NAMESPACE} {controller}"
        process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(made)], timeout=_SECONDS)
        # The private key comes last: where it is, all is.
        os.replace(made.with_suffix(".pub"), folder / f"{_KEY}.pub")
        os.replace(made, folder / _KEY)
    storage.sync_directory(folder)
