"""Things that go wrong on purpose: a cut link, a site out of reach, a host that reboots, a host that loses power."""

from __future__ import annotations

from bascule_lab import podman, shell
from bascule_lab.errors import LabError
from bascule_lab.topology import HOSTS, SITES, Host, Site

GATEWAYS = tuple(host for host in HOSTS if host.kind == "gateway")


def host_named(name: str) -> Host:
    for host in HOSTS:
        if host.name == name:
            return host
    raise LabError(f"no such host: {name}; the lab has {', '.join(host.name for host in HOSTS)}")


def cut_link() -> None:
    """Cut the provider's line at both ends: WireGuard goes with it, the controller's own ways stay."""
    for gateway in GATEWAYS:
        podman.execute(gateway.container, ["ip", "link", "set", "dev", "link", "down"])


def restore_link() -> None:
    for gateway in GATEWAYS:
        podman.execute(gateway.container, ["ip", "link", "set", "dev", "link", "up"])


def link_is_up() -> bool:
    """Administratively up at both ends."""
    for gateway in GATEWAYS:
        result = podman.attempt(gateway.container, ["ip", "-brief", "link", "show", "dev", "link"])
        if result.code or " UP" not in result.out:
            return False
    return True


def hide(site: Site) -> None:
    """Let this machine, on which the controllers run, reach nothing of a site; the sites still see each other."""
    shell.run(_rule("add", site))


def show(site: Site) -> None:
    """Undo `hide`; does nothing where nothing is hidden."""
    while not shell.attempt(_rule("del", site)).code:
        pass


def show_all() -> None:
    """Undo `hide` for every site."""
    for site in SITES:
        show(site)


def _rule(verb: str, site: Site) -> list[str]:
    return ["ip", "rule", verb, "priority", "100", "to", site.lan, "unreachable"]


def reboot(name: str) -> None:
    """An orderly stop and start: every unit is stopped, /run is empty afterwards."""
    container = host_named(name).container
    shell.run(["podman", "restart", container], timeout=180)
    podman.wait_for_systemd(container)


def kill(name: str) -> None:
    """Every process dies at once, as without power; the host stays off until `start`."""
    shell.run(["podman", "kill", "--signal", "KILL", host_named(name).container])


def kill_site(site: Site) -> None:
    """Every host of a site loses its power at once, and nothing on this machine answers in its place."""
    hide(site)
    shell.run(["podman", "kill", "--signal", "KILL", *(host.container for host in _of(site))])


def start_site(site: Site) -> None:
    """Undo `kill_site`; hosts that run already are left alone."""
    for host in _of(site):
        start(host.name)
    show(site)


def _of(site: Site) -> list[Host]:
    return [host for host in HOSTS if host.site == site.name]


def start(name: str) -> None:
    container = host_named(name).container
    shell.run(["podman", "start", container])
    podman.wait_for_systemd(container)
