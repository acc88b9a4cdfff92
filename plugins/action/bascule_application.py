"""Deploy a version of an application at one side, or bring it back."""

from __future__ import annotations

DOCUMENTATION = r"""
---
name: bascule_application
short_description: Deploy a version of an application at one side, or bring it back
description:
  - Runs on the controller. Asks the host agents of the application's hosts and of its HAProxy, side by side, over
    connections with the arguments Ansible itself uses. All hosts come to the release, or all are brought back.
  - Every run reads the hosts again, so one that was broken off is gone on with by the same command.
options:
  action:
    description:
      - V(plan) checks what is declared and returns what the role brings to the hosts; it connects to nothing.
      - V(deploy) brings all hosts to a version; V(back) to the release that was known good before.
    type: str
    choices: [plan, deploy, back]
    required: true
  services:
    description: The applications by name, as O(app_service_services) of the role describes them.
    type: dict
    required: true
  service:
    description: The application, or V(all) for V(plan).
    type: str
    required: true
  version:
    description: The version; not needed for V(back).
    type: str
    default: ""
  recipes:
    description: The folder with the recipes of the stacks.
    type: str
    required: true
author:
  - The Bascule authors
"""

EXAMPLES = r"""
- name: Deploy
  bascule_application:
    action: deploy
    services: "{{ app_service_services }}"
    service: shop
    version: 1.4.0
    recipes: "{{ app_service_recipes }}"
"""

RETURN = r"""
services:
  description: For V(plan) the applications, what others depend on first, each with hosts, unit and artefact.
  returned: when O(action=plan)
  type: list
  elements: dict
release:
  description: The name of the release.
  returned: when O(action) is V(deploy) or V(back)
  type: str
before:
  description: The release that each host had before, by host.
  returned: when O(action) is V(deploy) or V(back)
  type: dict
"""

from typing import Any, ClassVar

import yaml
from ansible.utils.display import Display

from bascule.application import recipes, releases, services, unit
from bascule.application.deployment import Deployment
from bascule.application.io import fleet
from bascule.application.recipes import Recipe
from bascule.application.services import Service
from bascule.errors import PlanError
from bascule.plugin.action import ControllerAction, Scope
from bascule.run.io import presence
from bascule.system.io import storage

# Of a host that no deployment has prepared yet; a trial prepares none.
_FRESH = ("can't open file", "knows nothing of application", "SUBCOMMAND")


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    ARGUMENTS: ClassVar[dict[str, Any]] = {
        "action": {"type": "str", "choices": ["plan", "deploy", "back"], "required": True},
        "services": {"type": "dict", "required": True},
        "service": {"type": "str", "required": True},
        "version": {"type": "str", "default": ""},
        "recipes": {"type": "str", "required": True},
    }

    def act(self, args: dict[str, Any], scope: Scope) -> dict[str, Any]:
        """Do what the arguments say."""
        known = services.read(args["services"])
        if args["action"] == "plan":
            wanted = services.chosen(known, args["service"])
            return {"services": [_planned(one, args) for one in wanted]}
        (service,) = services.chosen(known, args["service"])
        machines = dict.fromkeys([*service.hosts, *service.entrance.hosts])
        deployment = Deployment(
            service,
            _recipe(service, args["recipes"]),
            fleet.Fleet({host: scope.target(host) for host in machines}),
            fleet.note(""),
            presence.lives,
            Display().display,
        )
        if self.check_mode:
            return self._trial(deployment, args)
        if args["action"] == "back":
            return _with_diff(deployment.back())
        release, digest = _release(service, args["version"])
        return _with_diff(deployment.deploy(release, f"{service.folder}/.bascule/incoming.tar.gz", digest))

    def _trial(self, deployment: Deployment, args: dict[str, Any]) -> dict[str, Any]:
        """Say what would come of it: the hosts are looked at, nothing is locked and nothing taken out."""
        looks = deployment.looks(fresh=_FRESH)
        if args["action"] == "back":
            broken = {str(look.holder["release"]) for look in looks.values() if look.holder} - {""}
            release = releases.back_to(looks, broken)
        else:
            release, _ = _release(deployment.service, args["version"])
        before = {host: look.current for host, look in looks.items()}
        changed = any(current != release for current in before.values())
        return _with_diff({"changed": changed, "release": release, "before": before})


def _recipe(service: Service, folder: str) -> Recipe:
    path = f"{folder}/{service.stack}.yml"
    text = storage.read_text(path)
    if text is None:
        known = sorted(one.stem for one in storage.children(folder) if one.suffix == ".yml")
        raise PlanError(
            expected=f"stack of {service.name} out of {', '.join(known) or f'those in {folder}, which has none'}",
            found=service.stack,
            state="nothing was changed",
        )
    recipe = recipes.read(yaml.safe_load(text), path)
    services.fits(service, recipe)
    return recipe


def _release(service: Service, version: str) -> tuple[str, str]:
    """Return the release's name and the digest of its artefact."""
    artefact = _artefact(service, version)
    if not storage.is_file(artefact):
        raise PlanError(expected=f"the artefact {artefact}", found="no such file", state="nothing was changed")
    digest = storage.sha256(artefact)
    return releases.name(version, digest), digest


def _artefact(service: Service, version: str) -> str:
    releases.name(version, "")
    return service.artefact.replace("{version}", version)


def _planned(service: Service, args: dict[str, Any]) -> dict[str, Any]:
    recipe = _recipe(service, args["recipes"])
    if args["version"]:
        _release(service, args["version"])
    return {
        "name": service.name,
        "hosts": list(service.hosts),
        "machines": list(dict.fromkeys([*service.hosts, *service.entrance.hosts])),
        "folder": service.folder,
        "account": service.account,
        "unit": service.unit,
        "unit_text": unit.text(service, recipe),
        "artefact": _artefact(service, args["version"]) if args["version"] else "",
    }


def _with_diff(result: dict[str, Any]) -> dict[str, Any]:
    before = "".join(f"{host}: {name or 'nothing'}\n" for host, name in result["before"].items())
    after = "".join(f"{host}: {result['release']}\n" for host in result["before"])
    return {**result, "diff": {"before": before, "after": after}}
