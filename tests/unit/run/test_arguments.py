"""Which of ansible-playbook's options are given on, asked first, or refused."""

from __future__ import annotations

import pytest
from ansible.cli.playbook import PlaybookCLI

from bascule.errors import PlanError
from bascule.run import arguments

ASKED = ("--become-password-file", "-")


@pytest.mark.parametrize(
    ("given", "kept", "asks"),
    [
        (["-i", "inventories/x", "--limit", "a,b", "--check", "--diff"], None, False),
        (["-i", "prompt", "-e", "confirm=toulouse", "--vault-password-file", "f", "--vault-id=x@f"], None, False),
        (["-CDl", "a", "-lb", "-vvv", "-f", "50"], None, False),
        (["--become", "--limit", "a"], None, False),
        # A value that looks like an option is one's value.
        (["-e", "-K", "--limit", "--ask-pass"], None, False),
        (["-K"], ASKED, True),
        (["-i", "x", "-bK", "-v"], ("-i", "x", "-b", "-v", *ASKED), True),
        (["-CKl", "a"], ("-Cl", "a", *ASKED), True),
        (["-KCla"], ("-Cla", *ASKED), True),
        (["--ask-become-pass", "-C"], ("-C", *ASKED), True),
        (["--ask-b"], ASKED, True),
    ],
)
def test_options_are_given_on_and_the_password_of_sudo_is_asked_first(
    given: list[str], kept: tuple[str, ...] | None, asks: bool
) -> None:
    read = arguments.read(given)
    assert read.arguments == (tuple(given) if kept is None else kept)
    assert read.asks_become is asks


@pytest.mark.parametrize(
    "given",
    [
        ["-k"],
        ["-vk"],
        ["--ask-pass"],
        ["--ask-p"],
        ["-J"],
        ["-CJ"],
        ["--ask-vault-pass"],
        ["--ask-vault-password"],
        ["--ask-v"],
        ["--vault-id", "prompt"],
        ["--vault-id", "x@prompt"],
        ["--vault-id=x@prompt"],
        ["--vault-i=x@prompt"],
        ["--step"],
        ["--tags", "freeze"],
        ["-t", "freeze"],
        ["-Ctfreeze"],
        ["--skip-t=freeze"],
        ["--start-at-task", "x"],
        ["--list-tasks"],
        ["--list-h"],
        ["--syntax-check"],
        ["--become-password-file", "-"],
        ["--become-pass-file=-"],
        ["playbooks/rollback.yml"],
        ["-C", "playbooks/rollback.yml"],
        ["-"],
    ],
)
def test_what_would_be_asked_where_nobody_answers_and_a_part_of_a_phase_are_refused(given: list[str]) -> None:
    with pytest.raises(PlanError, match="nothing was begun"):
        arguments.read(given)


def test_which_options_take_a_value_is_as_ansible_has_it() -> None:
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    options = [action for action in cli.parser._actions if action.option_strings]
    # A switch has no arguments.
    names = {name for action in options if action.nargs != 0 for name in action.option_strings}
    switches = {name for action in options if action.nargs == 0 for name in action.option_strings}
    assert {name for name in names if name.startswith("--")} == arguments.VALUED
    assert {name[1:] for name in names if not name.startswith("--")} == arguments.SHORT_VALUED
    long = {name for name in switches if name.startswith("--")}
    assert long == arguments.SWITCHES | set(arguments._ASKING) | {arguments.BECOME}
