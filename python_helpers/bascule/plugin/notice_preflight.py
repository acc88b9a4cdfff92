"""Looks at what an inventory says of its notices, before anybody depends on them: all that is wrong at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.utils.display import Display

from ..report import notice_texts
from ..run import notices
from ..run.findings import Finding
from ..run.io import notice_addresses
from .action import Scope
from .telling import VARIABLES, own_texts

# Before these a person is there to mend them. Nothing else waits for that: no timer, no way back.
PHASES = frozenset({"audit", "prepare", "pretest", "plan", "cutover"})
_WANTED: Mapping[str, str] = {
    "notice_urls": "addresses by role, each of a service that apprise knows",
    "notice_languages": f"a list out of {', '.join(notices.LANGUAGES)}",
    "notice_roles": "lists of roles by moment",
    "notice_templates": "a folder of texts that can be filled in",
}


def findings(scope: Scope, values: Mapping[str, Any], faults: Mapping[str, str]) -> list[Finding]:
    """Name what cannot be right, without an address; warn of services that take no connection now.

    Args:
        scope: the task's component and all others.
        values: the variables notice_…, as far as they have a value.
        faults: why others have none.
    """
    found = [Finding("notices", name, _WANTED[name], why) for name, why in faults.items()]
    declared = {name: values.get(name) for name in VARIABLES}
    own: dict[str, str] = {}
    wrong = notices.further_problems(declared)
    if not any(name == "notice_templates" for name, _ in wrong):
        folder = declared["notice_templates"]
        own = own_texts(scope, folder)
        wrong = notice_texts.problems(declared, own)
        if folder and not own:
            wrong.append(("notice_templates", f"no text in {folder!r}, seen from the inventory"))
    shape = [("notice_urls", text) for text in notices.problems(declared["notice_urls"])]
    if declared["notice_urls"] and not shape:
        bad, silent = notice_addresses.look(declared["notice_urls"])
        shape = [("notice_urls", text) for text in bad]
        for text in silent:
            # It may be back by then, and holds up nothing where it is not.
            Display().warning(f"notice_urls: {text}")
    return found + [Finding("notices", name, _WANTED[name], text) for name, text in [*shape, *wrong]]
