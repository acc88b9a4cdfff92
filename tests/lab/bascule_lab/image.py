"""The one image of all hosts: Debian by mmdebstrap, cached in podman's storage under the digest of what makes it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bascule_lab import paths, podman, shell

SUITE = "bookworm"
REPOSITORY = "localhost/bascule-lab"
PACKAGES = paths.LAB_SOURCE / "image" / "host-packages.txt"
CUSTOMIZE = paths.LAB_SOURCE / "image" / "customize.sh"


def package_list(texts: Iterable[str]) -> list[str]:
    """Package names, sorted, each once; `#` begins a comment."""
    names = {line.split("#")[0].strip() for text in texts for line in text.splitlines()}
    return sorted(names - {""})


def digest(packages: Iterable[str], customize: bytes, suite: str = SUITE) -> str:
    content = "\n".join((suite, *packages)).encode() + b"\0" + customize
    return hashlib.sha256(content).hexdigest()[:16]


def wanted_tag() -> str:
    return f"{REPOSITORY}:{digest(package_list([PACKAGES.read_text()]), CUSTOMIZE.read_bytes())}"


def build() -> str:
    """Build and tag the image unless it is there; returns its tag. About a minute the first time."""
    tag = wanted_tag()
    if podman.image_exists(tag):
        name_latest(tag)
        return tag
    with tempfile.TemporaryDirectory(prefix="bascule-image-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        # mmdebstrap's own unprivileged download needs to get in.
        os.chmod(work, 0o755)
        tar = Path(work) / "root.tar"
        packages = package_list([PACKAGES.read_text()])
        shell.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
                f"--customize-hook={CUSTOMIZE}", SUITE, str(tar),
            ],
            timeout=900,
        )  # fmt: skip
        shell.run(["podman", "import", "--quiet", "--change", 'CMD ["/sbin/init"]', str(tar), tag], timeout=300)
    name_latest(tag)
    for older in all_tags():
        if older not in (tag, f"{REPOSITORY}:latest"):
            # Refused while a container still uses it; the next build tries again.
            shell.attempt(["podman", "rmi", older])
    return tag


def name_latest(tag: str) -> None:
    """Molecule's scenarios ask for :latest."""
    latest = f"{REPOSITORY}:latest"
    if not podman.image_exists(latest) or podman.image_id(latest) != podman.image_id(tag):
        shell.run(["podman", "tag", tag, latest])


def all_tags() -> list[str]:
    out = shell.run(["podman", "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={REPOSITORY}"])
    return [line for line in out.split() if line.startswith(REPOSITORY + ":")]


def remove() -> list[str]:
    """Remove every image of the lab that nothing uses any more; returns the tags removed."""
    removed = []
    for tag in all_tags():
        if shell.attempt(["podman", "rmi", tag]).code == 0:
            removed.append(tag)
    return removed
