#!/usr/bin/env python3
"""Verify the evidence of a run, offline: `python3 verify.py [ARCHIVE or FOLDER] [--key SHA256:...]`.

It needs Python 3.9 and ssh-keygen of OpenSSH 8.1 or later, and no network. Without an argument it verifies the folder
that it lies in. `--key` names, once for each, the fingerprint of a controller's key as you know it by another way than
this archive: without it the archive vouches for itself, which is no proof. A script that was changed says what it was
changed to say: `bascule evidence --verify ARCHIVE` runs the installed one, and README.txt tells how to do without any.

Exit status: 0 all is proved; 1 something was changed, cut, swapped or taken away; 2 there is nothing to verify;
3 nothing is wrong, and something is not proved.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

SUMS, SIGNATURE, SIGNERS = "SHA256SUMS", "SHA256SUMS.sig", "allowed_signers"
ABOUT, EXTRACT, SUMMARY, HERE = "about.json", "extract.json", "report/summary.json", "journal/here.jsonl"
JOURNAL, EVIDENCE = "bascule-journal", "bascule-evidence"
USED = "plan used"
OK, WRONG, NOTHING, UNPROVED = 0, 1, 2, 3
RESULTS = {OK: "all is proved", WRONG: "WRONG", UNPROVED: "NOT ALL IS PROVED"}
NOT_CLAIMED = (
    "that clocks were right: times are what the controllers wrote",
    "that the figures of the report follow from the journal: make it again (bascule report), and compare",
    "that no whole decision was taken away, here and at both sites, before it was packed and before a later one saw it",
    "anything against who holds a signing key and has changed the journal here and at both sites before it was packed",
)
Entry = dict[str, Any]
Chains = dict[tuple[str, str], list[Entry]]


class Found:
    """What is proved, what is not, and what is wrong, as lines."""

    def __init__(self) -> None:
        self.proved: list[str] = []
        self.unproved: list[str] = []
        self.wrong: list[str] = []
        # What nothing rests on, and nobody has sealed.
        self.aside: list[str] = []

    def status(self) -> int:
        """Return the exit status."""
        return WRONG if self.wrong else UNPROVED if self.unproved else OK


def load(path: str) -> dict[str, bytes]:
    """Return the content of each file by its name, of an archive or a folder; links and odd things are refused."""
    files: dict[str, bytes] = {}
    if os.path.isdir(path):
        for place, folders, names in os.walk(path):
            for name in (*folders, *names):
                whole = os.path.join(place, name)
                if os.path.islink(whole):
                    raise ValueError(f"a link: {whole}")
                if name in names:
                    if not os.path.isfile(whole):
                        raise ValueError(f"no file: {whole}")
                    with open(whole, "rb") as file:
                        files[os.path.relpath(whole, path)] = file.read()
        return files
    with tarfile.open(path, "r:gz") as archive:
        for one in archive.getmembers():
            name = one.name.partition("/")[2]
            content = archive.extractfile(one) if one.isreg() else None
            if content is None or not name or ".." in name.split("/") or name in files:
                raise ValueError(f"an odd member: {one.name}")
            files[name] = content.read()
    return files


def signers(text: str) -> dict[str, list[str]]:
    """Return the keys of each controller in an allowed_signers file, by its name."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 4 and not line.startswith("#"):
            found.setdefault(words[0], []).append(" ".join(words[2:4]))
    return found


def fingerprint(key: str) -> str:
    """Return the fingerprint of a public key, as ssh-keygen -l writes it."""
    blob = hashlib.sha256(base64.b64decode(key.split()[1])).digest()
    return f"SHA256:{base64.b64encode(blob).decode().rstrip('=')}"


def signed(text: bytes, signature: bytes, who: str, key: str, namespace: str) -> bool:
    """Return whether ssh-keygen says that this key of theirs has signed the text for the namespace."""
    with tempfile.TemporaryDirectory() as place:
        allowed, kept = os.path.join(place, "allowed"), os.path.join(place, "signature")
        with open(allowed, "w", encoding="utf-8") as file:
            file.write(f'{who} namespaces="{namespace}" {key}\n')
        with open(kept, "wb") as binary:
            binary.write(signature)
        line = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", who, "-n", namespace, "-s", kept]
        return subprocess.run(line, input=text, capture_output=True, check=False).returncode == 0


def list_signed(
    files: Mapping[str, bytes], who: str, known: Mapping[str, Sequence[str]], keys: Sequence[str], found: Found
) -> None:
    """Verify who has signed the list of digests."""
    for key in known.get(who, ()):
        if not signed(files[SUMS], files[SIGNATURE], who, key, EVIDENCE):
            continue
        mark = fingerprint(key)
        if not keys:
            found.proved.append(f"the list of digests is signed by {mark}, which the archive itself names")
            found.unproved.append(f"that {mark} is the key of {who}: give it with --key once you know it")
        elif mark in keys:
            found.proved.append(f"the list of digests is signed by {mark} of {who}")
        else:
            found.wrong.append(f"the list of digests is signed by {mark}, and not by a key you have named")
        return
    found.wrong.append(f"the list of digests is not signed by the key of {who}")


def listed(files: Mapping[str, bytes], found: Found) -> None:
    """Compare every file with the list of digests, and the other way round."""
    sums = {}
    for line in files[SUMS].decode().splitlines():
        value, _, name = line.partition("  ")
        sums[name] = value
    wrong = []
    for name in sorted(set(sums) | (set(files) - {SUMS, SIGNATURE})):
        if name not in files:
            wrong.append(f"{name} is gone")
        elif name not in sums:
            wrong.append(f"{name} is not one of the archive's files")
        elif hashlib.sha256(files[name]).hexdigest() != sums[name]:
            wrong.append(f"{name} is not the file that was packed")
    found.wrong += wrong
    if not wrong:
        found.proved.append(f"{len(sums)} files are as the list of digests says, and there is no other")


def entries_of(content: bytes) -> tuple[list[Entry], int]:
    """Return the entries of a copy of the journal, and how many lines are none."""
    entries, odd = [], 0
    for line in content.decode("utf-8", "surrogateescape").splitlines():
        try:
            entry = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            entry = ()
        if isinstance(entry, dict) and isinstance(entry.get("n"), int) and isinstance(entry.get("data"), dict):
            entries.append(entry)
        else:
            odd += entry is not None
    return entries, odd


def digest(entry: Entry) -> str:
    """Return the hash that an entry must have."""
    covered = {name: value for name, value in entry.items() if name != "hash"}
    text = json.dumps(covered, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def chains(entries: Iterable[Entry]) -> Chains:
    """Return the entries of each chain in their order, one that is there twice once."""
    found: dict[tuple[str, str], dict[tuple[int, str], Entry]] = {}
    for entry in entries:
        key = (str(entry.get("controller")), str(entry.get("epoch")))
        found.setdefault(key, {})[(entry["n"], str(entry.get("hash")))] = entry
    return {key: [one[place] for place in sorted(one)] for key, one in found.items()}


def holds(where: str, chain: Sequence[Entry], found: Found) -> None:
    """Verify the hashes of a chain."""
    number, head = 0, ""
    for entry in chain:
        if entry.get("hash") != digest(entry):
            found.wrong.append(f"{where}: entry {entry['n']} was changed after it was written")
        if entry["n"] != number + 1 or entry.get("prev") != head:
            found.wrong.append(f"{where}: entry {entry['n']} does not follow entry {number}")
        number, head = entry["n"], str(entry.get("hash"))


def sealed(
    where: str, chain: Sequence[Entry], known: Mapping[str, Sequence[str]], keys: Sequence[str], found: Found
) -> None:
    """Verify the seals of a chain, and say how far they reach."""
    who, times, reach, ended = str(chain[0]["controller"]), 0, 0, False
    by_number, strangers = {entry["n"]: entry for entry in chain}, set()
    for entry in chain:
        data = entry["data"]
        if data.get("event") != "sealed":
            continue
        head, key, last = by_number.get(data.get("count")), str(data.get("key")), bool(data.get("last"))
        what = f"{where}: the seal {entry['n']}"
        if head is None or head["hash"] != data.get("head") or head["n"] >= entry["n"]:
            found.wrong.append(f"{what} is of another chain than this")
            continue
        text = (
            f"{JOURNAL} 1\nrun {head['run']}\ncontroller {who}\ndecision {head['epoch']}\n"
            f"count {head['n']}\nhead {head['hash']}\nlast {'yes' if last else 'no'}\n"
        )
        armed = f"-----BEGIN SSH SIGNATURE-----\n{data.get('signature')}\n-----END SSH SIGNATURE-----\n"
        if who in known and key not in known[who]:
            found.wrong.append(f"{what} is by a key that is none of {who}")
        elif not signed(text.encode(), armed.encode(), who, key, JOURNAL):
            found.wrong.append(f"{what} has a wrong signature")
        else:
            # The entries between a head and a seal that does not follow it at once are signed by nobody.
            reached = entry["n"] if entry["n"] == head["n"] + 1 else head["n"]
            times, reach, ended = times + 1, max(reach, reached), last
            if who not in known or (keys and fingerprint(key) not in keys):
                strangers.add(fingerprint(key))
    found.unproved += [f"{where}: that {one} is the key of {who}" for one in sorted(strangers)]
    if not times:
        found.unproved.append(f"{where}: it has no seal that holds, so it may have been made anew")
    elif chain[-1]["n"] > reach:
        found.unproved.append(f"{where}: the {chain[-1]['n'] - reach} entries after its last seal")
    elif not ended:
        found.unproved.append(f"{where}: its end: its controller was killed, or its tail was cut")
    elif not strangers:
        found.proved.append(f"{where}: {chain[-1]['n']} entries, sealed {times} times, to its end")


def beside(where: str, key: tuple[str, str], chain: Sequence[Entry], copies: Mapping[str, Chains], own: str) -> Found:
    """Say which copies of the journal lack entries of a chain; what was audited alone lies here alone."""
    found = Found()
    audited = all(str(entry["phase"] or entry["data"].get("phase") or "audit") == "audit" for entry in chain)
    if audited and not any(key in one for name, one in copies.items() if name != HERE):
        return found
    for name, one in copies.items():
        if len(one.get(key, ())) < len(chain):
            lost = f"{where}: {name} has {len(one.get(key, ()))} of its {len(chain)} entries"
            # A controller writes here first, so that it is here where its copies are.
            (found.wrong if name == HERE and key[0] == own else found.unproved).append(lost)
    sites = {
        str(site).partition(" (")[0]
        for entry in chain
        if entry["data"].get("event") == "start"
        for group in ("heads", "unreachable")
        for site in entry["data"].get(group) or {}
    }
    missing = sorted(one for one in sites if not any(name.startswith(f"journal/{one}.") for name in copies))
    found.unproved += [f"{where}: no copy of site {one} is here" for one in missing]
    if not set(copies) - {HERE}:
        found.unproved.append(f"{where}: it rests on the controller's own copy alone")
    return found


def tried(chain: Iterable[Entry]) -> bool:
    """Return whether a chain is of a run with --check: it has changed nothing, and proves nothing."""
    return any(entry["data"].get("check_mode") for entry in chain)


def journal(
    files: Mapping[str, bytes], about: Mapping[str, str], known: Mapping[str, Sequence[str]], keys: Sequence[str],
    found: Found,
) -> dict[str, Entry]:  # fmt: skip
    """Verify all copies of the journal, each by itself and beside the others; return its entries by their hash."""
    copies: dict[str, Chains] = {}
    every: list[Entry] = []
    for name in sorted(one for one in files if one.startswith("journal/")):
        entries, odd = entries_of(files[name])
        copies[name], before = chains(entries), len(found.wrong)
        every += entries
        for (who, decision), chain in copies[name].items():
            holds(f"{name}, chain of {who}, decision {decision}", chain, found)
        if odd:
            found.unproved.append(f"{name}: {odd} lines that are no entries")
        if others := {str(entry.get("run")) for entry in entries} - {about["run"]}:
            found.wrong.append(f"{name}: entries of another run: {', '.join(sorted(others))}")
        if len(found.wrong) == before:
            found.proved.append(f"{name}: {len(entries)} entries in {len(copies[name])} chains hold")
    for key, chain in chains(every).items():
        where = f"chain of {key[0]}, decision {key[1]}"
        if len({entry["n"] for entry in chain}) < len(chain):
            found.wrong.append(f"{where}: the copies differ")
            continue
        if tried(chain):
            found.aside.append(f"anything of what was only tried (--check): {where}")
            if any(entry["data"].get("event") == "sealed" for entry in chain):
                found.wrong.append(f"{where}: it says that it was only tried, and has a seal, which no such chain gets")
            continue
        lacking = beside(where, key, chain, copies, about["controller"])
        found.wrong += lacking.wrong
        found.unproved += lacking.unproved
        sealed(where, chain, known, keys, found)
    by_hash = {str(entry["hash"]): entry for entry in every}
    unseen = {
        f"chain {name} was seen up to {head[:12]}, which is not here"
        for entry in by_hash.values()
        if entry["data"].get("event") == "start"
        for group in (*(entry["data"].get("heads") or {}).values(), entry["data"].get("local") or {})
        for name, head in group.items()
        if head not in by_hash
    }
    found.unproved += sorted(unseen)
    if not by_hash:
        found.wrong.append("there is no entry of a journal")
    return by_hash


def extracted(files: Mapping[str, bytes], by_hash: Mapping[str, Entry], found: Found) -> None:
    """Compare what was taken out of the journal, and what the report was made from, with the journal."""
    real = {
        str(entry["hash"]): entry for chain in chains(by_hash.values()).values() if not tried(chain) for entry in chain
    }
    items = [item for group in json.loads(files[EXTRACT]).values() for item in group]
    odd = [item for item in items if {**real.get(item["hash"], {}), **item} != real.get(item["hash"])]
    found.wrong += [f"{EXTRACT}: entry {item['hash'][:12]} does not stand so in the journal" for item in odd]
    wanted = {name for name, entry in real.items() if entry["kind"] in ("sample", "decision")}
    if left_out := wanted - {item["hash"] for item in items}:
        found.wrong.append(f"{EXTRACT}: {len(left_out)} samples or decisions of the journal are not in it")
    elif not odd:
        found.proved.append(f"{len(items)} samples, decisions, proofs and windows of {EXTRACT} stand so in the journal")
    if by_hash and not real:
        found.unproved.append("anything: all that is here was only tried (--check)")
    decided = [entry["data"] for entry in real.values() if entry["kind"] == "decision"]
    known = {data["checksum"] for data in decided if data.get("checksum")}
    plans = {name: json.loads(files[name])["checksum"] for name in sorted(files) if name.startswith("plan/")}
    found.unproved += [
        f"plan {str(data.get('id'))[:8]}, which was used, is not here"
        for data in decided
        if data.get("decision") == USED and data.get("checksum") not in plans.values()
    ]
    for name, checksum in plans.items():
        if checksum in known:
            found.proved.append(f"{name}: the journal knows its checksum")
        else:
            found.wrong.append(f"{name}: the journal knows no plan with its checksum")
    made = json.loads(files[SUMMARY]).get("journal") if SUMMARY in files else None
    if not made:
        found.unproved.append("what the report was made from, or there is none")
    elif not set(made.values()) <= set(by_hash):
        found.wrong.append("the report was made from another journal than this")
    else:
        found.proved.append("the report names the ends of this journal as what it was made from")
        longer = [key for key, one in chains(by_hash.values()).items() if one[-1]["hash"] not in made.values()]
        found.unproved += [
            f"decision {one} of {who}: the report was made before its end" for who, one in sorted(longer)
        ]


def verify(files: Mapping[str, bytes], keys: Sequence[str]) -> tuple[Found, dict[str, Any]]:
    """Return what is proved of an archive, and what it is about.

    Args:
        files: the content of each file by its name.
        keys: the fingerprints that are known by another way.
    """
    found = Found()
    if lost := [name for name in (SUMS, SIGNATURE, SIGNERS, ABOUT, EXTRACT) if name not in files]:
        found.wrong.append(f"there is no {', '.join(lost)}")
        return found, {}
    try:
        about, known = json.loads(files[ABOUT]), signers(files[SIGNERS].decode())
        list_signed(files, about["controller"], known, keys, found)
        listed(files, found)
        extracted(files, journal(files, about, known, keys, found), found)
        found.unproved += about["not_read"]
        return found, dict(about)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        found.wrong.append(f"it cannot be read: {type(error).__name__}: {error}")
        return found, {}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print what is proved and what is not; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("path", nargs="?", default=os.path.dirname(os.path.abspath(__file__)))
    parser.add_argument("--key", action="append", default=[], help="fingerprint of a controller's key (SHA256:...)")
    given = parser.parse_args(argv)
    try:
        files = load(given.path)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        print(f"nothing to verify: {error}")
        return NOTHING
    found, about = verify(files, given.key)
    print(f"Evidence of run {about.get('run')}, plan {about.get('plan')}, packed by {about.get('controller')}")
    for title, lines in (("PROVED", found.proved), ("NOT PROVED", found.unproved), ("WRONG", found.wrong)):
        print("\n  ".join([title, *(lines or ["nothing"])]))
    print("\n  ".join(["NOT CLAIMED", *NOT_CLAIMED, *found.aside]))
    print(f"result: {RESULTS[found.status()]}")
    return found.status()


if __name__ == "__main__":
    sys.exit(main())
