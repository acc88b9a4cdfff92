"""What nginx has to be configured for, and whether it is: rules, status and the text of `nginx -T`. Pure.

Source of the formats: nginx.org, "ngx_http_rewrite_module" and "ngx_http_stub_status_module"; `nginx -T` of 1.22.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from . import mode as modes
from .mode import EntranceError

# The file that each server block of the service includes, in the folder of the modes.
RULES = "entrance.conf"
PAGE, OTHER = "@bascule_maintenance", "@bascule_forward"
_SECTION = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
_TOKEN = re.compile(
    r"""\s+|#[^\n]*|(?P<word>[{};]|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|\$\{[^}]*\}|[^\s{};"'\\])+)"""
)
_MOVING = ("return", "rewrite", "if", "break")


@dataclass(frozen=True)
class Directive:
    """One directive; `block` holds what stands between its braces, None where it has none."""

    name: str
    words: tuple[str, ...]
    block: Optional[tuple[Directive, ...]] = None


def rules(folder: str, header: str) -> str:
    """Return the content of the file of rules: what users get is said by two empty files, and nothing by none of them.

    Args:
        folder: where the two files lie.
        header: what a request carries that another entrance has forwarded; it is not forwarded again.
    """
    variable = "$http_" + header.lower().replace("-", "_")
    return f"""# For Bascule (role web_entrance): included in every server block of the service, before its own rules.
set $bascule "";
if (-f {folder}/open) {{ set $bascule open; }}
if (-f {folder}/forward) {{ set $bascule "${{bascule}}forward"; }}
if ({variable}) {{ set $bascule "${{bascule}}-again"; }}
if ($bascule = open-again) {{ set $bascule open; }}
if ($bascule_smoke = 1) {{ set $bascule open; }}
error_page 491 =503 {PAGE};
error_page 492 = {OTHER};
if ($bascule = forward) {{ return 492; }}
if ($bascule != open) {{ return 491; }}
"""


def mode_of(has_open: bool, has_forward: bool) -> str:
    """Return the mode that the two files give."""
    if has_open == has_forward:
        return modes.MAINTENANCE
    return modes.OPEN if has_open else modes.FORWARD


def parse_status(answer: str) -> int:
    """Return how many requests nginx works on, out of what `stub_status` says; the question itself is not counted."""
    found = re.search(r"Reading: \d+ Writing: (\d+) Waiting: \d+", answer)
    if not found:
        raise EntranceError(expected="what stub_status of nginx says", found=answer.strip()[:200] or "nothing")
    return max(0, int(found[1]) - 1)


def files_of(dump: str) -> dict[str, str]:
    """Return the files of a configuration by their paths, the main one first, out of what `nginx -T` says."""
    parts = _SECTION.split(dump)[1:]
    return {path: text.lstrip("\n") for path, text in zip(parts[::2], parts[1::2])}


def parse(text: str) -> tuple[Directive, ...]:
    """Read the directives of one file."""
    words = [found["word"] for found in _TOKEN.finditer(text) if found["word"]]
    found, end = _directives(words, 0)
    if end != len(words):
        raise EntranceError(expected="braces of nginx that close", found=f"{words[end]!r} too many")
    return found


def faults(dump: str, folder: str, name: str, port: int, header: str, scheme: str = "https") -> list[str]:
    """Name what keeps this nginx from being opened and closed by the two files.

    Args:
        dump: what `nginx -T` says.
        folder: where the two files lie.
        name: the name that users ask for.
        port: the port at which they do.
        header: see `rules`.
        scheme: http or https, by which they ask.
    """
    files = files_of(dump)
    if not files:
        return ["nginx -T shows no configuration"]
    own = posixpath.join(folder, RULES)
    tree = tuple(_expanded(parse(next(iter(files.values()))), files, posixpath.dirname(next(iter(files)))))
    http = [one for block in tree if block.name == "http" for one in block.block or ()]
    servers = [one.block or () for one in http if one.name == "server"]
    named = [server for server in servers if name.lower() in map(str.lower, _values(server, "server_name"))]
    found = []
    if not any(port in _ports(server) for server in named):
        found.append(f"nginx has no server block with server_name {name} that listens on port {port}")
    for server in named:
        served = port in _ports(server)
        found += _server_faults(server, own, name, served)
        if served and _has_tls(server, port) != (scheme == "https"):
            has = "speaks TLS" if scheme == "http" else "speaks no TLS"
            found.append(f"the server block of {name} (port {port}) {has} there, and web_entrance_scheme says {scheme}")
    if own in files and files[own].strip() != rules(folder, header).strip():
        found.append(f"{own} is not the file that README of role web_entrance shows")
    if any(one.name == "open_file_cache" and one.words[:1] != ("off",) for one in _all(http)):
        found.append(
            "open_file_cache is on: nginx would go on with the mode of before for as long as it remembers the file; "
            "switch it off in the server block of the service"
        )
    return found


def _server_faults(server: Sequence[Directive], own: str, name: str, served: bool) -> list[str]:
    ports = ", ".join(map(str, sorted(_ports(server))))
    where = f"the server block of {name} (port {ports})"
    first = next((at for at, one in enumerate(server) if one.name == "include" and one.words == (own,)), None)
    rest = [one for one in server if one.name in ("location", "include")]
    if first is None:
        moved = [one for one in server if one.name == "return"]
        code = moved[0].words[:1] if moved else ()
        if not served and not rest and code in (("301",), ("302",), ("307",), ("308",)):
            return []
        return [f"{where} does not include {own}: nobody could close it"]
    found = [
        f"{where} has {one.name} before it includes {own}: what that answers is not closed"
        for one in server[:first]
        if one.name in _MOVING
    ]
    locations = {one.words[0] for one in server if one.name == "location" and len(one.words) == 1}
    found += [f"{where} has no location {wanted}" for wanted in (PAGE, OTHER) if wanted not in locations]
    return found


def _ports(server: Sequence[Directive]) -> set[int]:
    listening = [one.words[0] for one in server if one.name == "listen" and one.words]
    texts = [word.rpartition(":")[2] for word in listening if not word.startswith("unix:")]
    return {int(text) if text.isdigit() else 80 for text in texts} or {80}


def _has_tls(server: Sequence[Directive], port: int) -> bool:
    """Whether nginx speaks TLS at a port: `ssl` on its `listen`, or for the whole block."""
    if "on" in _values(server, "ssl"):
        return True
    return any("ssl" in one.words[1:] for one in server if one.name == "listen" and port in _ports([one]))


def _values(server: Sequence[Directive], name: str) -> list[str]:
    return [word for one in server if one.name == name for word in one.words]


def _all(directives: Sequence[Directive]) -> Iterator[Directive]:
    for one in directives:
        yield one
        yield from _all(one.block or ())


def _expanded(directives: Sequence[Directive], files: Mapping[str, str], base: str) -> Iterator[Directive]:
    """Yield directives with the content of the files that they include; the file of rules stays one directive."""
    for one in directives:
        if one.block is not None:
            yield Directive(one.name, one.words, tuple(_expanded(one.block, files, base)))
            continue
        wanted = posixpath.join(base, one.words[0]) if one.name == "include" and one.words else ""
        if not wanted or posixpath.basename(wanted) == RULES:
            yield one
            continue
        for path in files:
            if fnmatch.fnmatchcase(path, wanted):
                yield from _expanded(parse(files[path]), files, base)


def _directives(words: Sequence[str], at: int) -> tuple[tuple[Directive, ...], int]:
    found = []
    while at < len(words) and words[at] != "}":
        line = []
        while at < len(words) and words[at] not in (";", "{", "}"):
            line.append(words[at].strip("\"'"))
            at += 1
        if at >= len(words) or words[at] == "}":
            raise EntranceError(expected="a directive of nginx that ends", found=" ".join(line)[:80])
        block = None
        if words[at] == "{":
            block, at = _directives(words, at + 1)
            if at >= len(words):
                raise EntranceError(expected="braces of nginx that close", found=" ".join(line)[:80])
        if line:
            found.append(Directive(line[0], tuple(line[1:]), block))
        at += 1
    return tuple(found), at
