"""The arguments for `ansible-playbook` that a person gives to `bascule`: what is asked before it starts, and what
cannot be asked at all once it is detached. Pure.

The options are those of ansible-core 2.19 (`ansible-playbook --help`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import PlanError

BECOME = "--ask-become-pass"
# Options that ask at the terminal, by what is to be given instead.
_ASKING = {
    "--ask-pass": "a key: Bascule enters machines by key only",
    "--ask-vault-pass": "--vault-password-file FILE, or a program as FILE that asks a store of secrets",
    "--ask-vault-password": "--vault-password-file FILE, or a program as FILE that asks a store of secrets",
    "--step": "--limit COMPONENT, and a phase after the other",
}
# A phase is run whole, or it is not run.
_WHOLE = "--limit COMPONENT or --check: a phase is run whole"
_PARTIAL = dict.fromkeys(
    ("--list-hosts", "--list-tags", "--list-tasks", "--skip-tags", "--start-at-task", "--syntax-check", "--tags"),
    _WHOLE,
)
_SHORT = {"k": "--ask-pass", "J": "--ask-vault-pass", "t": "--tags"}
# Options that take a value, so that the next word is none.
VALUED = frozenset(
    {
        "--become-method",
        "--become-password-file",
        "--become-pass-file",
        "--become-user",
        "--connection",
        "--connection-password-file",
        "--conn-pass-file",
        "--extra-vars",
        "--forks",
        "--inventory",
        "--inventory-file",
        "--limit",
        "--module-path",
        "--private-key",
        "--key-file",
        "--scp-extra-args",
        "--sftp-extra-args",
        "--skip-tags",
        "--ssh-common-args",
        "--ssh-extra-args",
        "--start-at-task",
        "--tags",
        "--timeout",
        "--user",
        "--vault-id",
        "--vault-password-file",
        "--vault-pass-file",
    }
)
SHORT_VALUED = frozenset("MTceiltfu")
# Switches; some are the beginning of an option that takes a value.
SWITCHES = frozenset(
    {
        "--become",
        "--check",
        "--diff",
        "--flush-cache",
        "--force-handlers",
        "--help",
        "--list-hosts",
        "--list-tags",
        "--list-tasks",
        "--syntax-check",
        "--verbose",
        "--version",
    }
)
_EXTRA = frozenset({"-e", "--extra-vars"})
_PROMPT = "prompt"
# It reads the password from standard input, and nothing after that asks.
_HANDED = ("--become-password-file", "-")


@dataclass(frozen=True)
class Given:
    """What is given on to `ansible-playbook`, and whether the password of `sudo` is asked for first.

    others: the options without the one that hands that password over.
    """

    others: tuple[str, ...]
    asks_become: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return all options."""
        return (*self.others, *_HANDED) if self.asks_become else self.others


def read(arguments: Sequence[str]) -> Given:
    """Return what is given on; `-K` is taken out, and replaced by what reads the password from standard input.

    Raises:
        PlanError: something would be asked where nobody can answer, would run a part of a phase, or is no option.
    """
    kept: list[str] = []
    asks = False
    for word, value, names in _options(arguments):
        for name in names:
            if instead := (_ASKING | _PARTIAL).get(name):
                raise _refused(word, instead)
        if "--vault-id" in names and (value == _PROMPT or value.endswith(f"@{_PROMPT}")):
            raise _refused(f"{word} {value}", _ASKING["--ask-vault-pass"])
        if value == "-" and {"--become-password-file", "--become-pass-file"} & set(names):
            raise _refused(f"{word} -", "-K, which asks here")
        if BECOME in names:
            asks = True
            word = "" if word.startswith("--") or word == "-K" else word.replace("K", "", 1)
        kept += [word] if word else []
        kept += [value] if value and "=" not in word and not _joined(word) else []
    return Given(tuple(kept), asks)


def names(arguments: Sequence[str]) -> frozenset[str]:
    """Return the names of the options that are given: the full ones, and short ones as they are written.

    Raises:
        PlanError: something is no option.
    """
    return frozenset(name for _, _, found in _options(arguments) for name in found)


def variables(arguments: Sequence[str]) -> list[str]:
    """Return the values of -e, as they are written.

    Raises:
        PlanError: something is no option.
    """
    return [value or word.partition("=")[2] for word, value, found in _options(arguments) if _EXTRA & set(found)]


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each option as it is written, its value, and the full names it stands for."""
    words = iter(arguments)
    for word in words:
        if word == "-" or not word.startswith("-"):
            raise _refused(word, "options only: the phase says which playbook")
        if word.startswith("--"):
            name, joined, value = word.partition("=")
            full = _full(name)
            if not joined and full in VALUED:
                value = next(words, "")
            yield word, value, (full,)
            continue
        names: list[str] = []
        value = ""
        for place, letter in enumerate(word[1:], 2):
            names.append(BECOME if letter == "K" else _SHORT.get(letter, f"-{letter}"))
            if letter in SHORT_VALUED:
                value = word[place:] or next(words, "")
                break
        yield word, value, tuple(names)


def _full(name: str) -> str:
    """Return the option that a name stands for: argparse takes any beginning that fits one alone."""
    known = {BECOME, *_ASKING, *VALUED, *SWITCHES}
    if name in known:
        return name
    fits = [one for one in sorted(known) if one.startswith(name)]
    return fits[0] if fits else name


def _joined(word: str) -> bool:
    """Say whether a bundle of short options has its value in the same word."""
    if word.startswith("--"):
        return False
    letters = word[1:]
    at = next((place for place, letter in enumerate(letters) if letter in SHORT_VALUED), len(letters))
    return at + 1 < len(letters)


def _refused(found: str, instead: str) -> PlanError:
    return PlanError(
        expected=f"instead of it {instead}",
        found=found,
        state="nothing was begun",
        next_command="run it again with that; ansible-playbook itself takes it at a terminal",
    )
