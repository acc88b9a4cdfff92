"""Turn a fresh container into one of the lab's hosts: carry its bundle in, run the set-up of its kind."""

from __future__ import annotations

from bascule_lab import bundle, paths, podman, shell
from bascule_lab.errors import LabError
from bascule_lab.topology import Host

APPLIED = paths.STATE / "applied"
SETUP_SECONDS = 300


def applied_mark(container_id: str, data: bytes) -> str:
    """Names the container and the bundle: a new container, or a changed bundle, is set up (again)."""
    return f"{container_id} {bundle.fingerprint(data)}\n"


def is_current(host: Host, container_id: str, data: bytes) -> bool:
    mark = APPLIED / host.name
    return mark.exists() and mark.read_text() == applied_mark(container_id, data)


def apply(host: Host, container_id: str, scale: int, seed: str) -> bool:
    """Set the host up unless it is already; true when the set-up ran."""
    data = bundle.pack(bundle.host_entries(host, scale, seed))
    podman.wait_for_systemd(host.container)
    if is_current(host, container_id, data):
        return False
    podman.execute(host.container, ["tar", "-C", "/", "--no-overwrite-dir", "-xf", "-"], data)
    for kind in ("base", host.kind):
        result = shell.attempt(
            ["podman", "exec", host.container, f"/opt/lab/hosts/{kind}/setup.sh"], timeout=SETUP_SECONDS
        )
        if result.code:
            last = "\n  ".join((result.out + result.err).strip().splitlines()[-15:])
            raise LabError(
                f"{host.name}: the set-up hosts/{kind}/setup.sh failed with {result.code}:\n  {last}",
                f"podman exec -it {host.container} bash -x /opt/lab/hosts/{kind}/setup.sh",
            )
    paths.private_directory(APPLIED)
    (APPLIED / host.name).write_text(applied_mark(container_id, data))
    return True
