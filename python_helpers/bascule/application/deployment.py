"""One deployment of one application: all its hosts come to the release, or all are brought back. Pure.

What it asks of the machines goes through a `Fleet`. Nothing is remembered here: each run reads the hosts, so one that
was broken off is gone on with by the same command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from . import balance, lock, releases
from .balance import OUT, READY
from .fleet import Fleet, Order, must
from .recipes import Recipe, filled
from .releases import DeployError, Look
from .services import Service

# Seconds after which HAProxy's own checks must have found a server that answers.
_CHECKED_SECONDS = 60.0
Lives = Callable[[Mapping[str, Any]], tuple[Optional[bool], str]]


class Deployment:
    """Brings the hosts of an application to a release.

    Args:
        service: the application. recipe: its stack. fleet: the machines. note: this process, for the lock. lives: tells
        whether the process of another's note lives. tell: takes a line for whoever watches.
    """

    def __init__(
        self,
        service: Service,
        recipe: Recipe,
        fleet: Fleet,
        note: Mapping[str, Any],
        lives: Lives,
        tell: Callable[[str], None],
    ) -> None:
        self.service, self.recipe, self.note = service, recipe, note
        self._fleet, self._lives, self._tell = fleet, lives, tell
        self._own = {"folder": service.folder, "unit": service.unit, "token": note["token"]}
        self._gate = {"socket": service.entrance.socket, "backend": service.entrance.backend}

    def looks(self, fresh: Sequence[str] = ()) -> dict[str, Look]:
        """Return what each host has; raise DeployError where one does not say it.

        Args:
            fresh: what a machine says that was never prepared: it has nothing.
        """
        answers = self._fleet.ask({host: {**self._own, "do": "look"} for host in self.service.hosts})
        new = {host for host, one in answers.items() if any(word in one.error.get("found", "") for word in fresh)}
        looked = must({host: one for host, one in answers.items() if host not in new}, "a look at every host")
        return {host: Look.of(looked[host]) if host in looked else Look() for host in answers}

    def deploy(self, release: str, archive: str, digest: str) -> dict[str, Any]:
        """Bring all hosts to a release, batch by batch; raise DeployError when none, or not all, have come to it.

        Args:
            release: its name. archive: where the artefact lies on each host. digest: its SHA-256.
        """
        self._lock(f"deploys {release}", release)
        try:
            looks = self.looks()
            self._serving()
            staged = self._all(self._staging(release, archive, digest), f"{release} whole on every host")
            self._tell(f"{self.service.name}: {release} is whole on {', '.join(looks)}")
            changed = self._roll(release, self._before(looks, release))
            settled = self._settle(release, [])
        finally:
            self._unlock()
        return self._result(release, looks, changed or any(staged.values()) or settled)

    def back(self) -> dict[str, Any]:
        """Bring all hosts back to the release that was known good on all of them before what serves now."""
        broken = self._lock("goes back", "")
        try:
            looks = self.looks()
            release = releases.back_to(looks, broken)
            self._tell(f"{self.service.name}: back to {release}")
            changed = self._roll(release, self._before(looks, release))
            settled = self._settle(release, sorted({look.current for look in looks.values()} - {release, ""}))
        finally:
            self._unlock()
        return self._result(release, looks, changed or settled)

    def _result(self, release: str, looks: Mapping[str, Look], changed: bool) -> dict[str, Any]:
        before = {host: look.current for host, look in looks.items()}
        return {"changed": changed, "release": release, "before": before}

    # --- the lock

    def _lock(self, what: str, release: str) -> set[str]:
        """Take the lock of every host, or of none; return what the dead were deploying from whom it was taken over."""
        note = {**self.note, "what": what, "release": release}
        dead: dict[str, Mapping[str, Any]] = {}
        try:
            while True:
                over = {host: dead[host]["token"] if host in dead else "" for host in self.service.hosts}
                orders = {
                    host: {**self._own, "do": "take", "note": note, "over": token} for host, token in over.items()
                }
                holders = must(self._fleet.ask(orders), "the lock of every host")
                held = {host: holder for host, holder in holders.items() if holder}
                if not held:
                    return {str(one.get("release", "")) for one in dead.values()} - {""}
                for host, holder in held.items():
                    place = f"{host}:{self.service.folder}/.bascule/lock.json"
                    lock.refuse_unless_dead(holder, place, *self._lives(holder))
                    self._tell(f"{self.service.name}: takes over {host} from {lock.words(holder)}, which is gone")
                    dead[host] = holder
        except DeployError:
            self._unlock()
            raise

    def _unlock(self) -> None:
        """Give our locks back; a host that is silent keeps it until the next deployment proves us gone."""
        self._fleet.ask({host: {**self._own, "do": "give"} for host in self.service.hosts})

    # --- rolling

    def _roll(self, release: str, before: Mapping[str, str]) -> bool:
        changed, moved = False, list[str]()
        for batch in self.service.batches(list(self.service.hosts)):
            try:
                if self._is_there(batch, release):
                    # By a deployment that was broken off: what it had moved is brought back with the others.
                    moved += [host for host in batch if before[host]]
                    continue
                self._others_serve(batch)
                moved += batch
                self._step(dict.fromkeys(batch, release))
                changed = True
            except DeployError as error:
                raise DeployError(
                    expected=error.expected,
                    found=f"{', '.join(batch)}: {error.found}",
                    state=self._returned(moved, before),
                    next_command=error.next_command,
                ) from error
            self._tell(f"{self.service.name}: {', '.join(batch)} serves {release}")
        return changed

    def _before(self, looks: Mapping[str, Look], release: str) -> dict[str, str]:
        """Return what each host goes back to when this fails: what it serves, or was last good where that never was."""
        try:
            known = releases.back_to(looks)
        except DeployError:
            known = ""
        found = {host: look.current if look.current in look.good else known for host, look in looks.items()}
        return {host: name if name != release else "" for host, name in found.items()}

    def _is_there(self, batch: Sequence[str], release: str) -> bool:
        """Return whether hosts serve a release already, and HAProxy sends them requests."""
        names = [self.service.entrance.servers[host] for host in batch]
        seen = [servers[name] for servers in self._serving().values() for name in names if name in servers]
        if not all(one.serves for one in seen):
            return False
        orders = {host: self._activation(host, release, "serves") for host in batch}
        return all(must(self._fleet.ask(orders), "a look at the application").values())

    def _others_serve(self, batch: Sequence[str]) -> None:
        """Raise DeployError where taking these hosts would leave nobody who serves."""
        names = [self.service.entrance.servers[host] for host in batch]
        nobody = [gate for gate, seen in self._serving().items() if balance.leaves_nobody(seen, names)]
        if nobody and not self.service.interruption:
            raise DeployError(
                expected=f"somebody else to serve {self.service.name} while {', '.join(batch)} is taken out",
                found=f"{', '.join(nobody)} has nobody else",
                state="nothing was taken out",
                next_command="a smaller batch, further hosts, or interruption: true",
            )

    def _step(self, wanted: Mapping[str, str]) -> None:
        """Take hosts out, have them serve a release each, and have them back."""
        names = [self.service.entrance.servers[host] for host in wanted]
        self._put(names, OUT, self.service.drain_seconds)
        orders = {host: self._activation(host, release, "activate") for host, release in wanted.items()}
        must(self._fleet.ask(orders), "the release to serve")
        forgot = [
            host for host, answer in self._gates({"do": "see", "names": names, "state": OUT}).items() if answer.error
        ]
        if forgot:
            self._tell(
                f"{self.service.name}: {', '.join(forgot)} forgot that {', '.join(names)} was taken out (a reload?)"
            )
        self._put(names, READY, _CHECKED_SECONDS)

    def _returned(self, moved: Sequence[str], before: Mapping[str, str]) -> str:
        """Bring hosts back, the last one first; return what state all are in."""
        told = []
        for host in reversed(moved):
            if not before[host]:
                told.append(f"{host} stays taken out: it has no good release")
                continue
            try:
                self._others_serve([host])
                self._step({host: before[host]})
                told.append(f"{host} serves {before[host]} again")
            except DeployError as error:
                told.append(f"{host} was NOT brought back to {before[host]}: {error.brief()}")
        untouched = [host for host in self.service.hosts if host not in moved]
        return "; ".join([*told, *([f"{', '.join(untouched)} as before"] if untouched else [])])

    def _settle(self, release: str, left: Sequence[str]) -> bool:
        order = {"do": "settle", "good": release, "left": list(left), "keep": self.service.keep}
        return any(one["changed"] for one in self._all(order, "the release noted as good").values())

    # --- orders

    def _all(self, order: Order, what: str) -> dict[str, Any]:
        return must(self._fleet.ask({host: {**self._own, **order} for host in self.service.hosts}), what)

    def _gates(self, order: Order) -> Any:
        return self._fleet.ask({host: {**self._gate, **order} for host in self.service.entrance.hosts})

    def _put(self, names: Sequence[str], state: str, seconds: float) -> None:
        order = {"do": "put", "names": list(names), "state": state, "seconds": seconds}
        must(self._gates(order), f"{', '.join(names)} to be {state}")

    def _serving(self) -> dict[str, dict[str, balance.Server]]:
        """Return the servers as each HAProxy has them."""
        seen = must(self._gates({"do": "servers"}), "a look at HAProxy")
        return {gate: {name: balance.Server(**one) for name, one in said.items()} for gate, said in seen.items()}

    def _staging(self, release: str, archive: str, digest: str) -> Order:
        values = self.service.values(self.recipe, release, releases.version_of(release))
        needed = [
            {"name": one.name, "command": list(one.command), "at_least": one.at_least, "package": one.package}
            for one in self.recipe.prerequisites
        ]
        return {
            "do": "stage",
            "name": release,
            "archive": archive,
            "digest": digest,
            "account": self.service.account,
            "shared": list(self.service.shared),
            "assets": list(self.recipe.assets),
            "prerequisites": needed,
            **{key: filled(self.recipe.commands[key], values) for key in ("build", "test")},
        }

    def _activation(self, host: str, release: str, do: str) -> Order:
        values = self.service.values(self.recipe, release, releases.version_of(release))
        return {
            **self._own,
            "do": do,
            "name": release,
            "address": self.service.hosts[host],
            "port": self.service.port,
            "health": self._health(),
            "version": filled(self.recipe.version, values),
            "logs": filled(self.recipe.logs, values),
        }

    def _health(self) -> dict[str, Any]:
        given = self.service.health_seconds
        return {**self.recipe.health, **({"seconds": given} if given else {})}
