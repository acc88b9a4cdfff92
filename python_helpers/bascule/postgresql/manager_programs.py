"""What a keepalived runs, as far as it can be followed: by its configuration, and by shell scripts. Pure.

The list of what passes is closed: well-known programs that only look, and shell scripts that call nothing else.
Whatever is written in another way is named as not followed, and nobody guesses what it does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_RUNS = re.compile(r"(?:\w+_)?script|\w*notify\w*|misc_path|quorum_(?:up|down)")
_RUNS_NOT = frozenset({"vrrp_script", "track_script", "notify_priority_changes"})
_SYSTEM = frozenset({"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"})
# None of them runs, writes or moves anything.
_LOOKS = frozenset(
    shlex.split(
        ": [ [[ basename break cat continue cut date dirname echo exit expr false grep head hostname id local logger "
        "ls pgrep pidof ping printf read readlink return set shift sleep stat tail test tr true uname wc"
    )
)
# These do, unless they are told to look.
_MAY_MOVE = frozenset({"curl", "kill", "killall", "pkill", "systemctl", "wget"})
_SHELLS = frozenset({"sh", "bash", "dash"})
_BEFORE = frozenset({"if", "then", "else", "elif", "while", "until", "do", "!", "{", "}", "fi", "done", "esac", "exec"})
_SENDS = re.compile(r"-[a-zA-Z]*[XdFTKe]|--(?:request|data|form|upload|config|post|json|execute|use-askpass|next)")
_PATH = re.compile(r"/[\w./+-]+")
_QUOTED_SIGN = re.compile(r"[\"'][;&|()<>]+[\"']|\\[;&|()<>]")
_INNER = re.compile(r"`([^`]*)`|\$\(([^()`]*)\)")
_SIGNS = ";&|()<>"
# A here-document is never followed; nor is what stands for it.
_NOT_READ = ["<<"]


@dataclass
class Followed:
    """The files that are to be read next, and what cannot be followed, in its own words."""

    paths: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def of_configuration(text: str) -> Followed:
    """Return what a configuration of keepalived runs; comments are taken out already."""
    found = Followed()
    words = list(_words(text))
    if any(re.match(r"\$\w+\s*=", line.strip()) for line in text.splitlines()):
        found.lost.append("definitions ($NAME = …)")
    at = 0
    while at < len(words):
        line, word, _ = words[at]
        at += 1
        if not _RUNS.fullmatch(word) or word in _RUNS_NOT:
            continue
        block = at < len(words) and words[at][1] == "{"
        at += block
        said: list[tuple[str, bool]] = []
        while at < len(words) and words[at][1] not in "{}" and (block or words[at][0] == line):
            said.append(words[at][1:])
            at += 1
        # In quotes stands the program with its arguments; behind it the user.
        _line(said[0][0] if said and said[0][1] else shlex.join([one for one, _ in said] or [word]), found)
    return found


def of_script(text: str) -> Followed:
    """Return what a shell script runs; of a program in another language that it is none."""
    found = Followed()
    first, _, rest = text.partition("\n")
    if not re.fullmatch(r"#!\s*(?:/usr)?/bin/(?:env )?(?:sh|bash|dash)(?: -[eux]+)?\s*", first):
        found.lost.append("no shell script")
        return found
    _script(rest, found)
    return found


def _words(text: str) -> Iterator[tuple[int, str, bool]]:
    """Return the words of a configuration, each with its line and whether it stood in quotes."""
    for number, line in enumerate(text.replace("\\\n", " ").splitlines()):
        for match in re.finditer(r"\"([^\"]*)\"|'([^']*)'|([{}])|([^\s{}\"']+)|[\"']", line):
            quoted = match.group(1) if match.group(1) is not None else match.group(2)
            yield number, match.group() if quoted is None else quoted, quoted is not None


def _script(text: str, found: Followed) -> None:
    line = ""
    for one in text.splitlines():
        if not line and one.lstrip().startswith("#"):
            continue
        line += one
        if line.endswith("\\"):
            line = line[:-1]
            continue
        _line(line, found)
        line = ""
    if line:
        _line(line, found)


def _line(line: str, found: Followed) -> None:
    while match := _INNER.search(line):
        _line(match.group(1) or match.group(2) or ":", found)
        line = f"{line[: match.start()]}$_{line[match.end() :]}"
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_SIGNS)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:
        words = _NOT_READ
    # What these mean, only a shell knows.
    if "$'" in line or "`" in line or _QUOTED_SIGN.search(line):
        words = _NOT_READ
    command: list[str] = []
    depth = 0
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not set(word) <= set(_SIGNS):
            command.append(word)
        elif "<" in word or ">" in word:
            place = words[at] if at < len(words) else ""
            at += 1
            if word not in ("<", ">", ">>", ">&", "&>") or (
                word != "<" and place not in ("/dev/null", "/dev/stderr", "/dev/stdout", "1", "2")
            ):
                found.lost.append(line.strip())
        else:
            depth += word.count("(") - word.count(")")
            # Before a closing sign that nothing has opened stands a pattern of a case.
            if depth >= 0:
                _command(command, found)
            depth, command = max(depth, 0), []
    _command(command, found)
    if depth:
        found.lost.append(line.strip())


def _command(words: Sequence[str], found: Followed) -> None:
    words = list(words)
    said = " ".join(words)
    if any(_misleads(word) for word in words):
        found.lost.append(said)
        return
    while words and (words[0] in _BEFORE or re.match(r"\w+=", words[0])):
        words.pop(0)
    if not words or words[0] in ("for", "case") or (words[0] == "export" and all("=" in one for one in words[1:])):
        return
    place, _, name = words[0].rpartition("/")
    if place and place not in _SYSTEM - {"/usr/local/bin", "/usr/local/sbin"}:
        name = ""
    if name in _SHELLS:
        _shell(words[1:], said, found)
    elif name in (".", "source") and len(words) > 1 and _PATH.fullmatch(words[1]):
        found.paths.append(words[1])
    elif _only_looks(name, words[1:]):
        return
    elif place and _PATH.fullmatch(words[0]) and name not in _MAY_MOVE:
        found.paths.append(words[0])
    else:
        found.lost.append(said)


def _shell(arguments: Sequence[str], said: str, found: Followed) -> None:
    if len(arguments) > 1 and arguments[0] == "-c":
        _script(arguments[1], found)
    elif arguments and _PATH.fullmatch(arguments[0]):
        found.paths.append(arguments[0])
    else:
        found.lost.append(said)


def _misleads(word: str) -> bool:
    """Whether it has another program run under a known name."""
    name, given, value = word.partition("=")
    if given and name == "PATH":
        return not set(value.split(":")) <= _SYSTEM | {"$PATH"}
    return bool(given) and bool(re.fullmatch(r"LD_\w+|ENV|BASH_ENV|IFS|PROMPT_COMMAND", name))


def _only_looks(name: str, arguments: Sequence[str]) -> bool:
    if name in ("curl", "wget"):
        return not any(_SENDS.match(one) for one in arguments)
    if name in ("kill", "killall", "pkill"):
        return arguments[:1] == ["-0"]
    if name == "systemctl":
        return [one for one in arguments if one not in ("-q", "--quiet")][:1] in (["is-active"], ["is-failed"])
    return name in _LOOKS
