#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Ask an entrance as a user does."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_entrance_probe
short_description: Ask an entrance as a user does
description:
  - Makes requests to an entrance from this host, over verified TLS 1.3 or plain HTTP, and judges the answers. Changes
    nothing.
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
  scheme:
    description: Whether users come by V(https), or by V(http), which verifies nothing.
    type: str
    choices: [http, https]
    default: https
  also:
    description:
      - Further addresses by which users come to the same service, such as the virtual one of a pair; each is asked as
        O(address) is.
    type: list
    elements: str
    default: []
  also_headers:
    description: Headers to send with the requests to O(also) alone, beside O(headers).
    type: dict
    default: {}
  meets:
    description:
      - Of O(also) alone, wait out a wrong answer as well, for as long as O(patience) says. The other machine of a pair
        closes, or opens, at the same time as this one does.
    type: bool
    default: false
  expect:
    description:
      - V(service) makes O(requests) and wants each to be answered as declared.
      - V(told) makes O(requests) as V(service) does, and fails for nothing; RV(faults) tells.
      - V(maintenance) wants the maintenance page, status 503 with Retry-After.
      - V(otherwise) wants any answer that is not the maintenance page. Only who was answered so by an open entrance
        proves by the maintenance page that it has closed.
      - V(answer) wants either one, and fails for nothing; RV(reachable) tells.
      - V(some) wants either one, and fails where none comes.
    type: str
    choices: [service, told, maintenance, otherwise, answer, some]
    required: true
  patience:
    description:
      - For how many seconds the question is asked again. What is behind a busy entrance may be slow for a moment, and
        asking changes nothing.
      - V(otherwise), V(answer) and V(some) ask again whatever did not answer as wanted.
      - V(service), V(told) and V(maintenance) ask again only what gave no answer at all. A wrong answer is never waited
        away.
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
  description: Whether an answer came, in the way that users come, that an entrance gives.
  returned: always
  type: bool
faults:
  description: What was wrong with the answers, a sentence each.
  returned: always
  type: list
  elements: str
answers:
  description: Name, status, TLS version and duration of every request; attempts, where it was more than one; address,
    where O(also) names others.
  returned: always
  type: list
  elements: dict
sampled_at:
  description: When this was seen, in seconds since 1970.
  returned: always
  type: int
"""

from typing import Any

from ansible.module_utils.bascule.entrance.io import https, probe
from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Ask and judge."""
    return probe.probe(module.params)


if __name__ == "__main__":
    run_module(
        {
            "address": {"type": "str", "required": True},
            "port": {"type": "int", "default": 443},
            "name": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "scheme": {"type": "str", "choices": list(https.SCHEMES), "default": https.HTTPS},
            "also": {"type": "list", "elements": "str", "default": []},
            "also_headers": {"type": "dict", "default": {}},
            "meets": {"type": "bool", "default": False},
            "expect": {
                "type": "str",
                "choices": ["service", "told", "maintenance", "otherwise", "answer", "some"],
                "required": True,
            },
            "patience": {"type": "int", "default": 0},
            "requests": {"type": "list", "elements": "dict", "default": []},
            "headers": {"type": "dict", "default": {}},
        },
        main,
    )
