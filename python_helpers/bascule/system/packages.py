"""Which command installs what a host lacks. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_DEBIAN = ("debian", "ubuntu")
_RED_HAT = ("rhel", "fedora", "centos", "rocky", "almalinux")


def install_command(packages: Sequence[str], distribution: str) -> str:
    """Return what to type on a host.

    Args:
        packages: what they are called at Debian.
        distribution: the host's os-release(5); another distribution than Debian's may have other names.
    """
    ids = {
        word
        for line in distribution.splitlines()
        if line.startswith(("ID=", "ID_LIKE="))
        for word in line.partition("=")[2].strip().strip("\"'").split()
    }
    if ids & set(_DEBIAN):
        return f"apt-get install {' '.join(packages)}"
    if ids & set(_RED_HAT):
        return f"dnf install what gives them (at Debian {', '.join(packages)})"
    return f"install what gives them (at Debian {', '.join(packages)})"
