"""What does not answer is in the one message of the preflight, in a real playbook."""

from __future__ import annotations

import re

from bascule.run.preflight import PHASES

from .test_play import COMPONENTS, PLAN, ROOT, SIDES, World, play, world
from .test_preflight import refusals

__all__ = ["world"]
OWN = f"""
  guest:
    component_role: proxmox_guest
    source_host: a-mtp
    target_host: a-tls
    proxmox_guest_token_secrets: {{a-mtp: s3cr3t, a-tls: s3cr3t}}
    proxmox_guest_sides:
      a-mtp: {{api_host: 127.0.0.1, api_port: 1, node: p, vmid: 100, storage: local}}
      a-tls: {{api_host: 127.0.0.1, api_port: 1, node: p, vmid: 100, storage: local}}
  names:
    {SIDES.replace("toy", "dns_switchover").replace(", ", chr(10) + "    ")}
    depends_on: [top]
    dns_switchover_zone: example.org
    dns_switchover_port: 1
    dns_switchover_servers: {{ns: 127.0.0.1}}
    dns_switchover_tsig_name: key
    dns_switchover_tsig_secret: c2VjcmV0
    dns_switchover_records:
      - {{name: www, type: CNAME, values: {{a-mtp: lb.mtp.example.net., a-tls: lb.tls.example.net.}}}}
"""


def test_what_does_not_answer_is_named_with_all_else_by_file_and_line(world: World) -> None:
    """An API and a name server at ports where nobody listens, and a limit that is no number."""
    world.environment["ANSIBLE_ROLES_PATH"] = f"{world.path / 'roles'}:{ROOT / 'roles'}"
    (world.path / "inventory/components.yml").write_text(COMPONENTS + OWN)
    (world.path / "inventory/group_vars/all/plan.yml").write_text(PLAN.replace("min: 5", "min: soon"))
    for verb in PHASES["audit"]:
        (world.path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    before, _, after = play("audit").replace("phase: cutover", "phase: audit").partition("    - name: Do it")
    rc, output = world.run(before + after.partition("\n")[2].partition("\n")[2])
    assert rc == 2, output
    said = max(refusals(output), key=len)
    of_names = r"- names: dns_switchover_servers\.ns \(components\.yml:\d+\): expected an answer of 127\.0\.0\.1 about"
    for pattern in (
        r"- plan: plan_gates\.speed \(group_vars/all/plan\.yml:7\): expected",
        r"- guest: proxmox_guest_sides\.a-mtp\.api_host \(components\.yml:\d+\): expected the API of Proxmox 8 or 9 at"
        r" 127\.0\.0\.1:1 to answer to bascule@pve!move; found",
        of_names + r" example\.org by UDP at port 1, asked from here; found none",
        of_names + r" example\.org by TCP at port 1, asked from here; found none",
    ):
        assert any(re.match(pattern, line) for line in said), (pattern, said)
    assert "s3cr3t" not in output
