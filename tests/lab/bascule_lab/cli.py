"""The command line of the lab."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bascule_lab import bundle, faults, lifecycle, paths, runtime, status
from bascule_lab.errors import LabError
from bascule_lab.topology import HOSTS
from bascule_lab.ui import Screen


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="lab.py", description="Two sites on one machine.")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    up = verbs.add_parser("up", help="bring the lab up; a second time changes nothing")
    up.add_argument("--scale", type=int, help="multiplies the seeded data (1: about 40 MB of rows, 80 MB of files)")
    up.add_argument("--seed", help="the seeded data follow from it")
    up.add_argument("--only", nargs="+", metavar="HOST", choices=[host.name for host in HOSTS])

    verbs.add_parser("status", help="show hosts and services")
    verbs.add_parser("image", help="build the image of the hosts and the guest's disk (cached)")
    verbs.add_parser("settings", help="write podman's settings for this machine and print the file's name")

    down = verbs.add_parser("down", help="remove the lab; keeps the caches")
    down.add_argument("--purge", action="store_true", help="remove the caches, too")

    link = verbs.add_parser("link", help="cut or restore the link between the sites")
    link.add_argument("what", choices=["cut", "restore"])
    for verb, text in (
        ("reboot", "restart a host in good order"),
        ("kill", "take a host's power away"),
        ("start", "give it back"),
    ):
        verbs.add_parser(verb, help=text).add_argument("host", choices=[host.name for host in HOSTS])

    scenario = verbs.add_parser(
        "scenario", help="keys, secrets and set-up scripts for a Molecule scenario, a tar per host"
    )
    scenario.add_argument("directory", type=Path)
    scenario.add_argument("hosts", nargs="+", metavar="NAME=ADDRESS")
    return top


def act(options: argparse.Namespace, screen: Screen) -> int:
    """Do what was asked; the exit status."""
    if options.verb == "up":
        lifecycle.up(screen, options.scale, options.seed, options.only)
        return 0
    if options.verb == "status":
        return 0 if status.show(screen) else 1
    if options.verb == "image":
        lifecycle.check_machine()
        lifecycle.build_images(screen)
        lifecycle.build_guest(screen, personalised=False)
        return 0
    if options.verb == "settings":
        runtime.write_settings()
        print(paths.CONTAINERS_CONF)
        return 0
    if options.verb == "down":
        lifecycle.down(screen, options.purge)
        return 0
    if options.verb == "scenario":
        bundle.scenario(options.directory, dict(item.split("=", 1) for item in options.hosts))
        return 0
    return act_fault(options, screen)


def act_fault(options: argparse.Namespace, screen: Screen) -> int:
    if options.verb == "link" and options.what == "cut":
        faults.cut_link()
        screen.line("the link between the sites is cut")
    elif options.verb == "link":
        faults.restore_link()
        screen.line("the link between the sites is restored")
    else:
        {"reboot": faults.reboot, "kill": faults.kill, "start": faults.start}[options.verb](options.host)
        screen.line(f"{options.verb}: {options.host}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    screen = Screen()
    try:
        return act(options, screen)
    except LabError as error:
        screen.failure(error)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; Next: the same command again, or make lab-down", file=sys.stderr)
        return 130
