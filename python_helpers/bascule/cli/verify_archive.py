"""Verify an archive of a guest: `bascule verify-archive FILE [--digest sha256:…]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from ..errors import BasculeError
from ..guest.io.archive import verify_archive
from ..guest.vma import Verdict

STATUS = {"proved": 0, "damaged": 1, "payload not proved": 2}
DESCRIPTION = """\
Verify an archive of a guest (.vma, .vma.zst, .vma.gz) from the file alone: header and extents by their checksums,
each cluster of each disk exactly once, nothing missing and nothing behind the end. The format has no checksum of the
payload: the checksum of the compressed stream proves that, or the digest of the file taken at the source."""
EPILOG = """\
exit status: 0 proved; 1 damaged, or not the file that the digest was taken of; 2 not proved: the structure is sound and
nothing proves the payload, or the file could not be read"""


def main(argv: Sequence[str]) -> int:
    """Verify, say what was found, return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bascule verify-archive",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--digest", metavar="sha256:…", help="digest of the file, taken at the source")
    parser.add_argument("--json", action="store_true", help="say it as JSON")
    options = parser.parse_args(argv)
    try:
        verdict = verify_archive(options.file, options.digest)
    except BasculeError as error:
        if options.json:
            print(json.dumps({"file": options.file, "result": "not read", **error.fields()}))
        else:
            print(f"not read: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({"file": options.file, **as_dict(verdict)}))
    else:
        print("\n".join(lines(options.file, verdict)))
    return STATUS[verdict.result]


def as_dict(verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain data."""
    report = verdict.report
    return {
        "result": verdict.result,
        "container": verdict.container,
        "payload_proved_by": list(verdict.payload),
        "digest": verdict.digest or None,
        "damage": list(verdict.damage),
        "problems": [{"position": problem.position, "what": problem.what} for problem in report.problems],
        "uuid": report.uuid,
        "created": report.created,
        "length": report.length,
        "extents": report.extents,
        "configs": dict(report.configs),
        "disks": [
            {
                "name": disk.name,
                "size": disk.size,
                "clusters": disk.clusters,
                "clusters_found": disk.found,
                "stored": disk.stored,
            }
            for disk in report.disks
        ],
    }


def lines(path: str, verdict: Verdict) -> list[str]:
    """Return the verdict for people: the answer first, then what it rests on."""
    report = verdict.report
    said = [f"{verdict.result}: {path}"]
    said += [f"  wrong      {what}" for what in verdict.damage]
    said += [f"  wrong      {problem}" for problem in report.problems]
    if report.uuid:
        made = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(report.created))
        said.append(f"  archive    {verdict.container}, {report.length} bytes, {report.extents} extents, made {made}")
    for disk in report.disks:
        found = f"{disk.found} of {disk.clusters} clusters, {disk.stored} bytes stored"
        said.append(f"  disk       {disk.name}: {disk.size} bytes, {found}")
    if report.sound:
        said.append("  structure  header, extents and clusters are sound")
    said += [f"  payload    proved by {proof}" for proof in verdict.payload]
    if verdict.result == "payload not proved":
        said.append("  payload    not proved: the file carries no checksum of it, and no digest was given")
        said.append("  next       run it again with --digest sha256:…, taken at the source")
    return said
