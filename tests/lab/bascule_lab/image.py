"""The images of hosts: Debian by mmdebstrap, cached in podman's storage under the digest of what makes them.

All hosts of the lab are one image of Debian 12; tests of a site of its own have one of Debian 13.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bascule_lab import paths, podman, shell

CUSTOMIZE = paths.LAB_SOURCE / "image" / "customize.sh"


@dataclass(frozen=True)
class Recipe:
    """What an image is made of: a release of Debian, and packages of it."""

    repository: str
    suite: str
    packages: Path


LAB = Recipe("localhost/bascule-lab", "bookworm", paths.LAB_SOURCE / "image" / "host-packages.txt")
DEBIAN_13 = Recipe("localhost/bascule-debian13", "trixie", paths.LAB_SOURCE / "image" / "debian13-packages.txt")


def package_list(texts: Iterable[str]) -> list[str]:
    """Package names, sorted, each once; `#` begins a comment."""
    names = {line.split("#")[0].strip() for text in texts for line in text.splitlines()}
    return sorted(names - {""})


def digest(packages: Iterable[str], customize: bytes, suite: str = LAB.suite) -> str:
    content = "\n".join((suite, *packages)).encode() + b"\0" + customize
    return hashlib.sha256(content).hexdigest()[:16]


def wanted_tag(recipe: Recipe = LAB) -> str:
    packages = package_list([recipe.packages.read_text()])
    return f"{recipe.repository}:{digest(packages, CUSTOMIZE.read_bytes(), recipe.suite)}"


def build(recipe: Recipe = LAB) -> str:
    """Build and tag the image unless it is there; returns its tag. About a minute the first time."""
    tag = wanted_tag(recipe)
    if podman.image_exists(tag):
        name_latest(tag)
        return tag
    with tempfile.TemporaryDirectory(prefix="bascule-image-", dir=os.environ.get("TMPDIR", "/var/tmp")) as work:
        # mmdebstrap's own unprivileged download needs to get in.
        os.chmod(work, 0o755)
        tar = Path(work) / "root.tar"
        packages = package_list([recipe.packages.read_text()])
        shell.run(
            [
                "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
                f"--customize-hook={CUSTOMIZE}", recipe.suite, str(tar),
            ],
            timeout=900,
        )  # fmt: skip
        shell.run(["podman", "import", "--quiet", "--change", 'CMD ["/sbin/init"]', str(tar), tag], timeout=300)
    name_latest(tag)
    for older in all_tags(recipe):
        if older not in (tag, f"{recipe.repository}:latest"):
            # Refused while a container still uses it; the next build tries again.
            shell.attempt(["podman", "rmi", older])
    return tag


def name_latest(tag: str) -> None:
    """Molecule's scenarios ask for :latest."""
    latest = f"{tag.rpartition(':')[0]}:latest"
    if not podman.image_exists(latest) or podman.image_id(latest) != podman.image_id(tag):
        shell.run(["podman", "tag", tag, latest])


def all_tags(recipe: Recipe = LAB) -> list[str]:
    form, which = "{{.Repository}}:{{.Tag}}", f"reference={recipe.repository}"
    out = shell.run(["podman", "images", "--format", form, "--filter", which])
    return [line for line in out.split() if line.startswith(recipe.repository + ":")]


def remove() -> list[str]:
    """Remove every image of the hosts that nothing uses any more; returns the tags removed."""
    removed = []
    for tag in [*all_tags(LAB), *all_tags(DEBIAN_13)]:
        if shell.attempt(["podman", "rmi", tag]).code == 0:
            removed.append(tag)
    return removed
