"""How the lab is: every host, its services as the host itself sees them, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rich.table import Table

from bascule_lab import faults, podman
from bascule_lab.topology import HOSTS, Host
from bascule_lab.ui import Screen


def _unit(name: str, label: str) -> str:
    return f"systemctl is-active --quiet {name} && echo '{label} up' || echo '{label} DOWN'"


# Shell per kind, run in the host: prints a few words a line. DOWN and NOT mark what is wrong.
PROBES: Mapping[str, tuple[str, ...]] = {
    "gateway": (
        "echo \"entrance $(cut -d' ' -f2 /etc/haproxy/bascule/mode.map)\"",
        "systemctl is-active --quiet haproxy || echo 'haproxy DOWN'",
        "nft list table inet site >/dev/null 2>&1 || echo 'firewall DOWN'",
        "age=$(( $(date +%s) - $(wg show wg0 latest-handshakes | cut -f2) ))",
        "[ $age -lt 180 ] && echo 'tunnel up' || echo 'tunnel DOWN'",
    ),
    "db": (
        'pg_lsclusters -h | while read -r _ _ _ state _; do echo "postgresql $state"; done',
        "echo \"select case when pg_is_in_recovery() then 'standby' else 'primary' end\""
        " | runuser -u postgres -- psql -qAtX 2>/dev/null",
    ),
    "files": (
        _unit("coursefiles", "coursefiles"),
        'mountpoint -q /srv/courses && echo "tree $(findmnt -no OPTIONS /srv/courses | cut -d, -f1)"'
        " || echo 'tree NOT MOUNTED'",
    ),
    "ns": (_unit("named", "bind9"), "dig +short @127.0.0.1 courses.techcorp.test A | sed 's/^/courses = /'"),
    "pve": (_unit("pve-standin", "API"), 'echo "$(pgrep -c qemu-system) guests run"'),
    "resolver": (_unit("unbound", "unbound"),),
    "user": ("dig +short +time=1 +tries=1 @198.18.9.53 courses.techcorp.test A | sed 's/^/sees courses at /'",),
}
HINT = """
Next:  ssh -i .lab/ssh/controller -o UserKnownHostsFile=.lab/ssh/known_hosts root@198.18.1.10    (any address above)
       ansible-playbook playbooks/10_audit.yml
       make lab-down
"""


@dataclass(frozen=True)
class Health:
    host: Host
    state: str
    services: str

    @property
    def good(self) -> bool:
        return self.state in ("running", "degraded") and "DOWN" not in self.services and "NOT" not in self.services


def look(host: Host, known: Mapping[str, podman.Container]) -> Health:
    container = known.get(host.container)
    if container is None:
        return Health(host, "absent", "")
    if container.state != "running":
        return Health(host, container.state, "")
    script = "\n".join(("systemctl is-system-running", *PROBES[host.kind]))
    lines = podman.attempt(host.container, ["sh", "-c", script]).out.splitlines()
    return Health(host, lines[0] if lines else "silent", ", ".join(line for line in lines[1:] if line))


def look_at_all() -> list[Health]:
    known = podman.containers()
    with ThreadPoolExecutor(max_workers=6) as pool:
        return list(pool.map(lambda host: look(host, known), HOSTS))


def show(screen: Screen) -> bool:
    """Print the table; true when every host is well."""
    healths = look_at_all()
    if all(health.state == "absent" for health in healths):
        screen.console.print("The lab is down. Next: make lab-up")
        return False
    table = Table("host", "site", "address", "state", "services", box=None, pad_edge=False)
    for health in healths:
        style = "" if health.good else "bold red"
        table.add_row(
            health.host.name, health.host.site, health.host.address, health.state, health.services, style=style
        )
    screen.console.print(table)
    if all(health.state != "absent" for health in healths if health.host.kind == "gateway"):
        screen.console.print(f"link between the sites: {'up' if faults.link_is_up() else 'CUT'}")
    screen.console.print(HINT)
    return all(health.good for health in healths)
