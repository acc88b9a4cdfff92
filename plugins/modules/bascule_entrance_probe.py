#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an entrance as a user does."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_probe
short_description: Ask an entrance as a user does
description:
  - Makes requests to an entrance from this host over verified TLS 1.3, and judges the answers. Changes nothing.
  - Runs on any host that reaches the address, usually the gateway of the other side.
options:
  address:
    description: The address to ask.
    type: str
    required: true
  port:
    description: The port of the entrance.
    type: int
    default: 443
  name:
    description: The name that users ask for and that the certificate is for.
    type: str
    required: true
  ca_file:
    description: The certificates that the entrance is verified with.
    type: path
    required: true
  expect:
    description:
      - V(service) makes O(requests) and wants each to be answered as declared.
      - V(maintenance) wants the maintenance page, status 503 with Retry-After.
      - V(otherwise) wants any answer that is not the maintenance page. Only who was answered so by an open entrance
        proves by the maintenance page that it has closed.
      - V(answer) wants either one, and fails for nothing; RV(reachable) tells.
    type: str
    choices: [service, maintenance, otherwise, answer]
    required: true
  patience:
    description:
      - For how many seconds the question is asked again. What is behind a busy entrance may be slow for a moment, and
        asking changes nothing.
      - V(otherwise) and V(answer) ask again whatever did not answer as wanted.
      - V(service) and V(maintenance) ask again only what gave no answer at all. A wrong answer is never waited away.
      - Where a request would write once more each time, which is any but GET and HEAD without C({uuid}), all are made
        once.
    type: int
    default: 0
  requests:
    description: The requests, as web_entrance_verify declares them.
    type: list
    elements: dict
    default: []
  headers:
    description: Headers to send with every request; never a secret.
    type: dict
    default: {}
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: See the maintenance page from outside
  bascule_entrance_probe:
    address: 192.0.2.1
    name: courses.example.org
    ca_file: /etc/ssl/certs/ca-certificates.crt
    expect: maintenance
  delegate_to: "{{ bascule_to }}"
"""

RETURN = r"""
reachable:
  description: Whether an answer came, over verified TLS 1.3, that an entrance gives.
  returned: always
  type: bool
faults:
  description: What was wrong with the answers, a sentence each.
  returned: always
  type: list
  elements: str
answers:
  description: Name, status, TLS version and duration of every request; attempts, where it was more than one.
  returned: always
  type: list
  elements: dict
sampled_at:
  description: When this was seen, in seconds since 1970.
  returned: always
  type: int
"""

import time
from typing import Any, Optional

from ansible.module_utils.bascule.entrance.io import https, side
from ansible.module_utils.bascule.entrance.mode import EntranceError
from ansible.module_utils.bascule.entrance.requests import Answer, open_fault, parse_requests, refusal_fault
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule

# Seconds between two questions.
_PAUSE = 1.0


def fault_of(expect: str, answer: Answer) -> Optional[str]:
    """Return what is wrong with an answer."""
    if expect == "otherwise":
        return open_fault(answer)
    if expect == "answer" and not answer.error and answer.status < 500:
        return None
    return refusal_fault(answer)


def writes_anew(requests: list[dict[str, Any]]) -> bool:
    """Return whether a request would write once more each time that it is made."""
    return any(
        str(one.get("method", "GET")).upper() not in ("GET", "HEAD")
        and "{uuid}" not in f"{one.get('path', '')}{one.get('body', '')}"
        for one in requests
    )


def ask(params: dict[str, Any], where: https.Target, headers: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
    """Ask once; return what each request got, and whether the entrance gave an answer, or a wrong one to a user."""
    expect = params["expect"]
    if expect == "service":
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


def main(module: AnsibleModule) -> dict[str, Any]:
    """Ask and judge."""
    params = module.params
    where = side.target(params)
    headers = {str(name): str(value) for name, value in params["headers"].items()}
    until = time.monotonic() + (0 if writes_anew(params["requests"]) else params["patience"])
    attempts = 0
    while True:
        results, answered = ask(params, where, headers)
        attempts += 1
        # An entrance that answers with something else than its page is open, however often it is asked, and a service
        # that fails now and then is not made good by asking again.
        final = params["expect"] in ("maintenance", "service") and answered
        if final or not any(result["fault"] for result in results) or time.monotonic() >= until:
            break
        time.sleep(_PAUSE)
    faults = [result["fault"] for result in results if result["fault"]]
    if faults and params["expect"] != "answer":
        raise EntranceError(
            expected=f"{params['expect']} at {where.address}:{where.port}",
            found="; ".join(faults),
            state="nothing was changed by asking",
            next_command="ansible-playbook playbooks/status.yml",
        )
    return {
        "reachable": not faults,
        "answers": [{**result, "attempts": attempts} for result in results] if attempts > 1 else results,
        "faults": faults,
        "sampled_at": int(time.time()),
    }


if __name__ == "__main__":
    run_module(
        {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "name": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "expect": {"type": "str", "choices": ["service", "maintenance", "otherwise", "answer"], "required": True},
            "patience": {"type": "int", "default": 0},
            "requests": {"type": "list", "elements": "dict", "default": []},
            "headers": {"type": "dict", "default": {}},
        },
        main,
    )
