"""Ask an entrance as a user does, at each address by which users come, and judge what it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from ..mode import EntranceError
from ..requests import Answer, open_fault, parse_requests, refusal_fault
from . import https, side

# Seconds between two questions.
_PAUSE = 1.0


def probe(params: Mapping[str, Any]) -> dict[str, Any]:
    """Ask each address and judge what it answers; the first that is wrong ends it where something is expected."""
    asked = [ask_one(params, address, further) for address, further in addresses(params)]
    faults = [fault for _, found in asked for fault in found]
    return {
        "reachable": not faults,
        "answers": [answer for answers, _ in asked for answer in answers],
        "faults": faults,
        "sampled_at": int(time.time()),
    }


def fault_of(expect: str, answer: Answer) -> Optional[str]:
    """Return what is wrong with an answer."""
    if expect == "otherwise":
        return open_fault(answer)
    if expect in ("answer", "some") and not answer.error and answer.status < 500:
        return None
    return refusal_fault(answer)


def writes_anew(requests: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a request would write once more each time that it is made."""
    return any(
        str(one.get("method", "GET")).upper() not in ("GET", "HEAD")
        and "{uuid}" not in f"{one.get('path', '')}{one.get('body', '')}"
        for one in requests
    )


def ask(params: Mapping[str, Any], where: https.Target, headers: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
    """Ask once; return what each request got, and whether the entrance gave an answer, or a wrong one to a user."""
    expect = params["expect"]
    if expect in ("service", "told"):
        made = side.make(parse_requests(params["requests"], "verify"), where, headers)
        return made, any(one["fault"] and one["status"] for one in made)
    answer = https.request(where, headers=headers)
    seen = {
        "name": expect,
        "status": answer.status,
        "seconds": answer.seconds,
        "tls": answer.tls,
        "fault": fault_of(expect, answer) or "",
    }
    return [seen], not answer.error


def addresses(params: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return each address to ask, and whether it is a further one; one that is empty is refused."""
    found = [(str(params["address"]), False)]
    found += [(str(one or ""), True) for one in params.get("also") or []]
    if not all(address.strip() for address, _ in found):
        raise EntranceError(
            expected="an address in each place of web_entrance_addresses and web_entrance_further_addresses",
            found="an empty one: nobody would be asked by it",
            state="nobody was asked, and nothing was changed",
            next_command="mend the variable, then ansible-playbook playbooks/10_audit.yml",
        )
    return found


def ask_one(params: Mapping[str, Any], address: str, further: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """Ask one address for as long as that may help; return its answers, and what is wrong with them."""
    meets = further and bool(params.get("meets"))
    where = side.target({**params, "address": address})
    given = {**params["headers"], **((params.get("also_headers") or {}) if further else {})}
    headers = {str(name): str(value) for name, value in given.items()}
    until = time.monotonic() + (0 if writes_anew(params["requests"]) else params["patience"])
    attempts = 0
    while True:
        results, answered = ask(params, where, headers)
        attempts += 1
        # An entrance that answers with something else than its page is open, however often it is asked, and a service
        # that fails now and then is not made good by asking again.
        final = params["expect"] in ("maintenance", "service") and answered and not meets
        if final or not any(result["fault"] for result in results) or time.monotonic() >= until:
            break
        time.sleep(_PAUSE)
    faults = [result["fault"] for result in results if result["fault"]]
    if faults and params["expect"] not in ("answer", "told"):
        raise EntranceError(
            expected=f"{params['expect']} at {where.address}:{where.port}",
            found="; ".join(faults),
            state="nothing was changed by asking",
            next_command="ansible-playbook playbooks/status.yml",
        )
    about = {"address": address} if params.get("also") else {}
    tried = {"attempts": attempts} if attempts > 1 else {}
    return [{**result, **about, **tried} for result in results], faults
