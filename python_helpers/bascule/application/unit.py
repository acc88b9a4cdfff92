"""The systemd unit of an application. Pure. Source: systemd.service(5), systemd.syntax(7)."""

from __future__ import annotations

from .recipes import Recipe, filled
from .services import Service


def text(service: Service, recipe: Recipe) -> str:
    """Return the unit: it starts what the link `current` names, as the account of the application.

    The release's name stands nowhere in it, so it is the same for all releases.
    """
    values = {**service.values(recipe, "", ""), "release": f"{service.folder}/current", "version": "current"}
    environment = {**filled(recipe.environment, values), **service.environment}
    lines = [
        "# Written by Bascule (roles/app_service).",
        "[Unit]",
        f"Description=Application {service.name} ({recipe.stack})",
        "After=network-online.target",
        "",
        "[Service]",
        f"User={service.account}",
        f"WorkingDirectory={service.folder}/current",
        *(f"Environment={quoted(f'{name}={value}', '%')}" for name, value in sorted(environment.items())),
        f"EnvironmentFile=-{service.folder}/shared/env",
        f"ExecStart={' '.join(quoted(word) for word in filled(recipe.start, values))}",
        "Restart=on-failure",
        "RestartSec=1",
        "TimeoutStopSec=30",
        "NoNewPrivileges=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def quoted(word: str, doubled: str = "%$") -> str:
    """Return a word as systemd reads it back, whatever stands in it.

    Args:
        word: the word. doubled: what stands for something unless it is written twice.
    """
    for sign in doubled:
        word = word.replace(sign, sign * 2)
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
