"""What an archive of evidence holds, file by file, before it is signed. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import BasculeError
from ..run import chain
from ..run.window import EVENT as WINDOW

# As verify.py has them.
ABOUT, EXTRACT, NAMESPACE = "about.json", "extract.json", "bascule-evidence"
_SHOWN = ("controller", "epoch", "n", "time", "phase", "verb", "component", "kind", "data", "hash")
# Events of the journal that say how a component stood, what was carried over, and what was proved.
_PROOFS = frozenset({"audit", "check", "fence", "guard", "repair", "transfer", "verify"})
_SECRET = re.compile("pass|secret|token|key|psk|credential", re.IGNORECASE)
# A shorter text is found anywhere by chance.
_SHORTEST = 6
_README = """Evidence of run {run}, plan {plan}, packed by {controller}.

  journal/        every copy of the journal, as it was read: here, and at each machine of both sites
  guards/         what the guard of each component says at each host: its receipt, epoch and final position
  plan/           the plans of this run; their salt is left out, so that no variable can be found by trying
  extract.json    the samples of gates, decisions, proofs, positions and windows, taken out of the journal
  report/         the report, in each of its forms
  sheets/         the decision sheets

To verify it, offline, with Python and OpenSSH, and with the fingerprint of the key as you were told it by another way:
  python3 verify.py --key SHA256:...
To verify without any script that the files are those that were packed, with your own allowed_signers:
  ssh-keygen -Y verify -f allowed_signers -I {controller} -n {namespace} -s SHA256SUMS.sig < SHA256SUMS
  sha256sum -c SHA256SUMS
"""


def contents(
    about: Mapping[str, str],
    copies: Mapping[str, str],
    others: Mapping[str, bytes],
    plans: Iterable[Mapping[str, Any]],
    not_read: Sequence[str],
    script: str,
) -> dict[str, bytes]:
    """Return the content of each file by its name.

    Args:
        about: `run`, `plan`, and the `controller` that packs it.
        copies: the text of each copy of the journal, by its name; `here` is the controller's own.
        others: the files of guards, reports and sheets, by their names in the archive.
        plans: the plans of the run, as their files hold them.
        not_read: what should be there and could not be read, in words.
        script: the text of verify.py.
    """
    entries = chain.merge(*(chain.parse(text).entries for text in copies.values()))
    found = {
        ABOUT: _json({**about, "not_read": list(not_read)}),
        EXTRACT: _json(_extract(entries)),
        "README.txt": _README.format(**about, namespace=NAMESPACE).encode(),
        "verify.py": script.encode(),
        **{f"journal/{name}.jsonl": text.encode("utf-8", "surrogateescape") for name, text in copies.items()},
        **{
            f"plan/{plan['id'][:8]}.json": _json({name: value for name, value in plan.items() if name != "salt"})
            for plan in plans
        },
    }
    return {**others, **found}


def digests(files: Mapping[str, bytes]) -> str:
    """Return the list of digests, as `sha256sum -c` reads it."""
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))


def must_be_free_of(secrets: Mapping[str, str], files: Mapping[str, bytes]) -> None:
    """Refuse to pack a secret.

    Args:
        secrets: the values by the names of their variables.
        files: the content of each file by its name.

    Raises:
        BasculeError: a value stands in a file; both are named, and the value is not told.
    """
    for name, value in secrets.items():
        spellings = {value.encode("utf-8", "surrogateescape"), json.dumps(value)[1:-1].encode()}
        held = [file for file, content in files.items() if any(one in content for one in spellings)]
        if len(value) >= _SHORTEST and held:
            raise BasculeError(
                expected="no secret in the evidence",
                found=f"the value of {name} in {', '.join(sorted(held))}",
                state="nothing was packed",
                next_command="change that secret, as it stands in the run's folder in the clear",
            )


def secrets(variables: Mapping[str, Any]) -> dict[str, str]:
    """Return the secret texts in the vault's variables, by where they stand (`vault_users[0].password`).

    In a table only what is named like a secret is one: the name of an account beside it stands in every journal.
    """
    found: dict[str, str] = {}

    def take(name: str, value: Any) -> None:
        if isinstance(value, str):
            found[name] = value
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(inner, str) or _SECRET.search(str(key)):
                    take(f"{name}.{key}", inner)
        elif isinstance(value, (list, tuple)):
            for number, inner in enumerate(value):
                take(f"{name}[{number}]", inner)

    for name, value in variables.items():
        take(name, value)
    return found


def _extract(entries: Iterable[chain.Entry]) -> dict[str, list[dict[str, Any]]]:
    known = list(entries)
    # What was only tried proves nothing.
    tried = {(one["controller"], one["epoch"]) for one in known if one["data"].get("check_mode")}
    found: dict[str, list[dict[str, Any]]] = {"samples": [], "decisions": [], "proofs": [], "windows": []}
    for entry in known:
        if (entry["controller"], entry["epoch"]) in tried:
            continue
        event = entry["data"].get("event")
        group = {"sample": "samples", "decision": "decisions"}.get(entry["kind"], "")
        group = group or ("proofs" if event in _PROOFS else "windows" if event == WINDOW else "")
        if group:
            found[group].append({name: entry[name] for name in _SHOWN})
    return found


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8", "surrogateescape")
