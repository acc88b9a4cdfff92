#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Measure what the link between two hosts carries."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: bascule_link_rate
short_description: Measure what the link between two hosts carries
description:
  - One host listens, the other sends a plain TCP stream for a few seconds, and the rate is judged by what
    arrived in each interval at the receiver.
  - The listener binds one address, takes one connection, ends by itself, and leaves nothing behind.
options:
  state:
    description: V(listen) starts the listener, V(send) sends to it and returns the rate.
    type: str
    choices: [listen, send]
    required: true
  address:
    description: The listener's address over the link.
    type: str
    required: true
  seconds:
    description: How long to send.
    type: int
    default: 4
  port:
    description: The listener's port, as it was returned.
    type: int
  token:
    description: What the listener wants to be shown, as it was returned; worth nothing after a few seconds.
    type: str
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Listen at the side we move to
  bascule_link_rate:
    state: listen
    address: 198.18.2.20
  delegate_to: files-tls
  register: __example_listener

- name: Send from the side we come from
  bascule_link_rate:
    state: send
    address: 198.18.2.20
    port: "{{ __example_listener.port }}"
    token: "{{ __example_listener.token }}"
  delegate_to: files-mtp
"""

RETURN = r"""
port:
  description: The listener's port.
  returned: when listening
  type: int
token:
  description: What the listener wants to be shown.
  returned: when listening
  type: str
rate:
  description: The rate in Mbit/s (C(mbit), C(median_mbit), C(lowest_mbit)) over C(intervals) intervals.
  returned: when sending
  type: dict
clock_difference:
  description: Seconds by which the listener's clock is ahead of the sender's.
  returned: when sending
  type: float
sampled_at:
  description: When the rate was measured, in seconds since the epoch.
  returned: when sending
  type: float
"""

import time
from typing import Any

from ansible.module_utils.bascule.plugin.module import run_module
from ansible.module_utils.bascule.system import link_rate
from ansible.module_utils.bascule.system.io import throughput
from ansible.module_utils.basic import AnsibleModule


def main(module: AnsibleModule) -> dict[str, Any]:
    """Do what the arguments say."""
    address, seconds = module.params["address"], module.params["seconds"]
    if module.params["state"] == "listen":
        port, token = throughput.listen(address, seconds)
        return {"port": port, "token": token}
    intervals, ahead = throughput.send(address, module.params["port"], module.params["token"], seconds)
    return {"rate": link_rate.judge(intervals), "sampled_at": time.time(), "clock_difference": round(ahead, 3)}


if __name__ == "__main__":
    run_module(
        {
            "state": {"type": "str", "required": True, "choices": ["listen", "send"]},
            "address": {"type": "str", "required": True},
            "seconds": {"type": "int", "default": 4},
            "port": {"type": "int"},
            "token": {"type": "str", "no_log": False},
        },
        main,
        required_if=[("state", "send", ["port", "token"])],
    )
