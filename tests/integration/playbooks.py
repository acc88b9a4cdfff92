"""Starts playbooks as an operator would, and reads what they say."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.output import failures

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = {
    "audit": "10_audit.yml",
    "prepare": "20_prepare.yml",
    "sync": "30_sync.yml",
    "pretest": "40_pretest.yml",
    "cutover": "60_cutover.yml",
    "verify": "70_verify.yml",
    "monitor": "75_monitor.yml",
    "rollback": "rollback.yml",
    "decommission": "90_decommission.yml",
    "status": "status.yml",
    "site_lost": "site_lost.yml",
    "site_back": "site_back.yml",
}
# The name an operator types, by the phase that asks for it.
CONFIRM = {"cutover": "toulouse", "rollback": "montpellier", "decommission": "toulouse"}
TIME_LIMIT_SECONDS = 900
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=\d+\s+failed=\d+",
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Outcome:
    """What a playbook printed, its exit status and the changes per component."""

    status: int
    output: str
    changed: dict[str, int]

    @property
    def changed_components(self) -> set[str]:
        """Names of the components in which at least one task reported a change."""
        return {name for name, count in self.changed.items() if count}

    def told(self) -> str:
        """Return the end of what was printed, and once more the failures: the end is what a log keeps."""
        return f"{self.output[-8000:]}\n{failures(self.output)}"

    def changed_tasks(self) -> list[str]:
        """Headings of the tasks that reported a change, for the message of a failing test."""
        heading, found = "", []
        for line in self.output.splitlines():
            if line.startswith("TASK ["):
                heading = line
            elif line.startswith("changed:"):
                found.append(f"{heading} {line[:160]}")
        return found


class Controller:
    """One operator's machine: its own directory of runs, all else shared with the lab."""

    def __init__(self, runs: Path, run_id: str) -> None:
        self.runs = runs
        self.run_id = run_id

    def environment(self) -> dict[str, str]:
        """The environment of a playbook started by this controller."""
        return {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "BASCULE_RUNS": str(self.runs),
            "BASCULE_RUN": self.run_id,
        }

    def command(self, phase: str, *arguments: str, confirm: str | None = None) -> list[str]:
        """The command line of a phase; the confirmation is typed unless the caller gives another one."""
        line = ["ansible-playbook", f"playbooks/{PLAYBOOKS[phase]}", *arguments]
        answer = CONFIRM.get(phase) if confirm is None else confirm
        return [*line, "-e", f"confirm={answer}"] if answer else line

    def start(self, phase: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a phase in a session of its own, so that it can be killed whole; `said` tells what it prints."""
        with self._output(phase).open("w") as output:
            return subprocess.Popen(
                self.command(phase, *arguments),
                cwd=ROOT,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def said(self, phase: str) -> str:
        """Return the end of what a phase that was started last has printed."""
        return self._output(phase).read_text()[-8000:]

    def _output(self, phase: str) -> Path:
        self.runs.mkdir(parents=True, exist_ok=True)
        return self.runs / f"{phase}.out"

    def run(self, phase: str, *arguments: str, confirm: str | None = None) -> Outcome:
        """Run a phase to its end."""
        done = subprocess.run(
            self.command(phase, *arguments, confirm=confirm),
            cwd=ROOT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIME_LIMIT_SECONDS,
            check=False,
        )
        output = _COLOUR.sub("", done.stdout)
        recap = (_RECAP.match(line) for line in output.splitlines())
        return Outcome(done.returncode, output, {m["host"]: int(m["changed"]) for m in recap if m})

    def succeed(self, phase: str, *arguments: str, confirm: str | None = None) -> Outcome:
        """Run a phase and demand that it ends well."""
        outcome = self.run(phase, *arguments, confirm=confirm)
        assert outcome.status == 0, f"{phase} failed:\n{outcome.told()}"
        assert outcome.changed, f"{phase} touched no component:\n{outcome.output[-4000:]}"
        return outcome

    def journal(self) -> Path:
        """The local journal of this controller's run."""
        return self.runs / self.run_id / "journal.jsonl"
