"""What `ssh -G` says of a destination, as another SSH client needs it; pure. See ssh(1) and ssh_config(5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_SSH_PORT = 22
# Nobody is there to be asked, and nobody whose key is not known is gone through.
_STRICT = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes")


@dataclass(frozen=True)
class Endpoint:
    """Where a destination is, who logs in, by which keys, and which of its own keys are known.

    key_name: the name under which its keys stand in `known_hosts`. proxy: the command that leads to it; nothing where
    it is connected to.
    """

    host: str
    port: int
    user: str
    key_name: str
    keys: tuple[str, ...]
    known_hosts: tuple[str, ...]
    agent: bool
    proxy: tuple[str, ...] = ()


def read(said: str, ssh: Sequence[str], expand_user: Callable[[str], str]) -> Endpoint:
    """Return where a destination is.

    Args:
        said: what `ssh -G` has printed.
        ssh: the command with its options, from which a bastion takes program and configuration.
        expand_user: turns a leading `~` into a home directory.
    """
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, _, value = line.partition(" ")
        found.setdefault(name.lower(), []).append(value)

    def first(name: str) -> str:
        value = found.get(name, [""])[0]
        return "" if value == "none" else value

    def path(name: str) -> str:
        return expand_user(name.replace("%d", "~", 1))

    host, port, user = first("hostname"), int(first("port") or _SSH_PORT), first("user")
    name = first("hostkeyalias") or host.lower()
    return Endpoint(
        host,
        port,
        user,
        name if port == _SSH_PORT or first("hostkeyalias") else f"[{name}]:{port}",
        # The whole line is one name there, and several here.
        tuple(path(value) for value in found.get("identityfile", [])),
        tuple(path(word) for name in ("userknownhostsfile", "globalknownhostsfile") for word in first(name).split()),
        first("identitiesonly") != "yes" and found.get("identityagent") != ["none"],
        _proxy(first("proxyjump"), first("proxycommand"), ssh, (host, port, user)),
    )


def _proxy(jump: str, command: str, ssh: Sequence[str], where: tuple[str, int, str]) -> tuple[str, ...]:
    """Return what leads there, as ssh itself would start it for `ProxyJump` and `ProxyCommand`."""
    host, port, user = where
    if jump:
        *before, last = jump.split(",")
        through = ("-J", ",".join(before)) if before else ()
        target = f"[{host}]:{port}"
        uri = last if last.startswith("ssh://") else f"ssh://{last}"
        return (ssh[0], *_configuration(ssh), *_STRICT, *through, "-W", target, uri)
    if command:
        values = {"h": host, "p": str(port), "r": user, "n": host, "%": "%"}
        text = re.sub("%([hprn%])", lambda found: values[found[1]], command)
        return ("sh", "-c", f"exec {text}")
    return ()


def _configuration(ssh: Sequence[str]) -> tuple[str, ...]:
    """Return which configuration was named: ssh hands it to its bastions, and no other option."""
    for place, word in enumerate(ssh):
        if word == "-F" and place + 1 < len(ssh):
            return "-F", ssh[place + 1]
        if word.startswith("-F") and not word.startswith("--"):
            return "-F", word[2:]
    return ()


def revoked(text: str) -> frozenset[str]:
    """Return the keys, in base64, that a `known_hosts` file names as revoked, for whichever host.

    See sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
    """
    lines = [line.split() for line in text.splitlines()]
    return frozenset(words[3] for words in lines if len(words) > 3 and words[0] == "@revoked")
