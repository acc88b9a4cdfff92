"""`bascule.pyz guest_console COMPONENT VMID SECONDS`: keep what a guest writes to its serial console while it boots."""

from __future__ import annotations

from ..io import guest_console


def main(argv: list[str]) -> int:
    """Read until the guest has ended, or the time is over."""
    component, vmid, seconds = argv
    guest_console.record(component, int(vmid), float(seconds))
    return 0
