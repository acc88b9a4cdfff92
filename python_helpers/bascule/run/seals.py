"""Seals of a chain: how many entries it had and which was the last, signed by the key of its controller. Pure.

A hash chain alone can be cut, or made anew by whoever holds the file. A seal is an entry of the chain itself, so it
comes to both sites with it. It is written after each gate and at the end of the playbook.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

EVENT = "sealed"
# What the signature is for (`ssh-keygen -Y sign -n`): one of another namespace is none here.
NAMESPACE = "bascule-journal"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"


def text(entry: Mapping[str, Any], last: bool) -> str:
    """Return what is signed.

    Args:
        entry: the entry of the chain that is the last so far.
        last: whether the chain ends here.
    """
    return (
        f"{NAMESPACE} 1\nrun {entry['run']}\ncontroller {entry['controller']}\ndecision {entry['epoch']}\n"
        f"count {entry['n']}\nhead {entry['hash']}\nlast {'yes' if last else 'no'}\n"
    )


def data(entry: Mapping[str, Any], last: bool, public: str, signature: str) -> dict[str, Any]:
    """Return the content of the seal's entry.

    Args:
        entry: the entry that is the last so far.
        last: whether the chain ends here.
        public: the public key, as `ssh-ed25519 AAAA…`.
        signature: what `ssh-keygen -Y sign` has written.
    """
    bare = "".join(line for line in signature.split("\n") if line not in (_BEGIN, _END))
    return {
        "event": EVENT,
        "count": entry["n"],
        "head": entry["hash"],
        "last": last,
        "key": public,
        "signature": bare,
    }


def fingerprint(public: str) -> str:
    """Return a public key's fingerprint, as `ssh-keygen -l` writes it."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
