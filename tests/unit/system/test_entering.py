"""Root by a sudo that wants a password: a stand-in for sudo does what the real one does, also what is rare.

The real program is asked in tests/unit/plugins/test_real_sudo.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bascule.errors import BasculeError
from bascule.postgresql.io.switchover.connections import Agent, Hold
from bascule.system.io import entering, remote, storage
from bascule.system.ssh import Target

PASSWORD = "pä'\"$x\\ %\udcff"
STAND_IN = r"""#!/bin/sh
here=$(dirname "$0")
rules=$(cat "$here/rules")
silent='' prompt='[sudo] Passwort: ' cached=yes
while :; do
  case $1 in
    -n) silent=yes ;;
    -k) cached='' ;;
    -p) prompt=$2; shift ;;
    -*) ;;
    *) break ;;
  esac
  shift
done
case $rules in
  *hangs*) exec sleep 30 ;;
  *tty*) echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1 ;;
  *away*) echo "connection closed" >&2; exit 255 ;;
  *nopasswd*) exec "$@" ;;
  *cached*) [ -z "$cached" ] || exec "$@" ;;
esac
if [ -n "$silent" ]; then echo "sudo: a password is required" >&2; exit 1; fi
case $rules in *lecture*) printf 'We trust you\n\n    #1) Respect the privacy of others.\n' >&2 ;; esac
for try in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r given || { echo "sudo: no password was provided" >&2; exit 1; }
  printf '%s\n' "$given" >>"$here/tried"
  case $rules in *repeats*) echo "I have read $given" >&2 ;; esac
  case $rules in *slow*) exec sleep 30 ;; *cut*) exit 255 ;; esac
  if [ "$given" = "$(cat "$here/password")" ]; then
    case $rules in
      *unlisted*) echo "ops is not in the sudoers file." >&2; exit 1 ;;
      *code*) continue ;;
    esac
    exec "$@"
  fi
  case $rules in *once*) echo "sudo: 1 incorrect password attempt" >&2; exit 1 ;; esac
  echo "Sorry, try again." >&2
done
echo "sudo: 3 incorrect password attempts" >&2
exit 1
"""


@dataclass
class Machine:
    """A machine whose sudo is the stand-in."""

    place: Path

    def has(self, rules: str) -> None:
        """Have its sudo follow these rules."""
        (self.place / "rules").write_text(rules)

    @property
    def tried(self) -> list[str]:
        """What was given to sudo as a password."""
        path = self.place / "tried"
        return path.read_text("utf-8", "surrogateescape").splitlines() if path.exists() else []

    def way(self, password: str = PASSWORD) -> Target:
        """The way in, past a login shell that greets."""
        shell = ("sh", "-c", 'echo "Authorized use only" >&2; eval "$1"', "sh")
        return Target("db-tls", shell, (), (str(self.place / "sudo"), "-H"), password, str(self.place / "note"))

    def run(self, script: str = "cat", given: str = "a\n\nb\n", timeout: float = 20, **more: str) -> remote.Answer:
        """Run a script there."""
        return remote.run_on({"x": self.way(**more)}, {"x": script}, {"x": given}, timeout)["x"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with a password."""
    (tmp_path / "sudo").write_text(STAND_IN)
    (tmp_path / "sudo").chmod(0o755)
    (tmp_path / "password").write_bytes(PASSWORD.encode("utf-8", "surrogateescape") + b"\n")
    found = Machine(tmp_path)
    found.has("")
    return found


@pytest.mark.parametrize("rules", ["", "lecture", "nopasswd", "cached"])
def test_the_script_gets_its_own_input_and_nothing_else(machine: Machine, rules: str) -> None:
    machine.has(rules)
    assert machine.run() == remote.Answer("a\n\nb\n")
    assert machine.tried == ([] if rules == "nopasswd" else [PASSWORD])


def test_what_the_script_says_is_its_own(machine: Machine) -> None:
    assert machine.run("echo out; echo why >&2; exit 7") == remote.Answer(error="exit status 7: why")


def test_much_comes_whole(machine: Machine) -> None:
    text = "".join(f"{number} é\n" for number in range(50_000))
    assert machine.run(given=text).output == text


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("", "sudo asked again: the password is wrong, or sudo wants more than one"),
        ("lecture", "sudo asked again: the password is wrong, or sudo wants more than one"),
        ("repeats", "sudo asked again: the password is wrong, or sudo wants more than one"),
        ("once", "sudo ended with exit status 1: sudo: 1 incorrect password attempt"),
        ("once repeats", "sudo ended with exit status 1: I have read ******** sudo: 1 incorrect password attempt"),
    ],
)
def test_a_wrong_password_is_tried_once_however_many_ask(machine: Machine, rules: str, said: str) -> None:
    """What is meant for the script would be the second and the third password, and an account is locked."""
    machine.has(rules)
    ways = {str(number): machine.way("wr0ng") for number in range(5)}
    answers = remote.run_on(ways, dict.fromkeys(ways, "cat"), dict.fromkeys(ways, "a\nb\nc\n"), 20)
    assert sorted({answer.error for answer in answers.values()}) == sorted(
        {said, "it was refused when it was tried before"}
    )
    assert machine.tried == ["wr0ng"]
    assert "wr0ng" not in "".join(path.read_text() for path in machine.place.glob("note*"))
    with pytest.raises(entering.NotEntered) as caught:
        entering.start(machine.way("wr0ng"), "cat")
    assert caught.value.refused
    assert "sudo at db-tls to take the password once" in caught.value.message()
    assert "next safe command: log in there and type sudo -k true" in caught.value.message()
    assert "wr0ng" not in caught.value.message()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("unlisted", "sudo ended with exit status 1: ops is not in the sudoers file."),
        ("code", "sudo asked again: the password is wrong, or sudo wants more than one"),
    ],
)
def test_a_right_password_that_is_not_enough_is_not_tried_again_either(machine: Machine, rules: str, said: str) -> None:
    machine.has(rules)
    assert machine.run().error == said
    assert machine.run().error == "it was refused when it was tried before"
    assert machine.tried == [PASSWORD]


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("tty", "exit status 1: Authorized use only sudo: sorry, you must have a tty to run sudo"),
        ("away", "exit status 255: Authorized use only connection closed"),
        ("cut", "exit status 255: no output"),
    ],
)
def test_what_is_no_word_about_the_password_leaves_it_to_be_tried(machine: Machine, rules: str, said: str) -> None:
    machine.has(rules)
    assert machine.run().error == said
    machine.has("")
    assert machine.run().output == "a\n\nb\n"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("hangs", "no answer; sudo did not ask for the password: Authorized use only"),
        ("slow", "no answer; sudo was answered: no output"),
    ],
)
def test_nobody_waits_for_ever(machine: Machine, rules: str, said: str) -> None:
    machine.has(rules)
    began = time.monotonic()
    assert machine.run(timeout=1).error == said
    assert time.monotonic() - began < 15
    machine.has("")
    assert machine.run().output == "a\n\nb\n"


def test_a_way_that_may_take_longer_is_waited_for(machine: Machine) -> None:
    """A login through a bastion, say, for which the inventory gives more time than a script has."""
    slow = replace(machine.way(), argv=("sh", "-c", 'sleep 2; eval "$1"', "sh"))
    for way in (slow, replace(slow, password="", sudo=())):
        assert remote.run_on({"x": way}, {"x": "true"}, {}, 0.5)["x"].error
        assert remote.run_on({"x": replace(way, slow=20.0)}, {"x": "echo in"}, {}, 0.5)["x"].output == "in\n"


@pytest.mark.parametrize("rules", ["away", "nopasswd"])
def test_nobody_waits_for_others_where_sudo_does_not_ask(machine: Machine, rules: str) -> None:
    """At a silent site all would wait for each other: the time of a connection, times as many as there are."""
    machine.has(rules)
    with storage.locked(machine.place / "note.lock"):
        answer = machine.run(timeout=5)
    assert answer.output == "a\n\nb\n" if rules == "nopasswd" else answer.error.startswith("exit status 255: ")
    assert not (machine.place / "note").exists()


def test_a_password_that_was_taken_once_is_not_given_up(machine: Machine) -> None:
    """A directory service that fails for a moment must not keep a return from going on."""
    assert machine.run().output
    machine.has("unlisted")
    assert "not in the sudoers file" in machine.run().error
    machine.has("")
    assert machine.run().output


def test_those_that_come_after_the_first_do_not_wait_for_each_other(machine: Machine) -> None:
    machine.run()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            running = stack.enter_context(entering.start(machine.way(), "cat"))
            stack.callback(running.kill)
        assert machine.run().output == "a\n\nb\n"


def test_without_a_password_sudo_is_asked_for_none(machine: Machine) -> None:
    where = replace(machine.way(), password="", note="")
    (answer,) = remote.run_on({"x": where}, {"x": "cat"}, {}, 20).values()
    assert answer.error == "exit status 1: Authorized use only sudo: a password is required"
    assert machine.tried == []


AGENT = """
while read -r line; do echo "$line" >>"$PLACE/asked"; echo '{"number": 1, "ok": {"said": "yes"}}'; done
"""


def test_an_agent_is_entered_in_the_same_way(machine: Machine) -> None:
    script = AGENT.replace("$PLACE", str(machine.place))
    with Agent(machine.way(), script, "old", Hold("")) as agent:
        assert agent.answer(20, agent.send("look")) == {"said": "yes"}
    assert (machine.place / "asked").read_text() == '{"do": "look", "number": 1}\n'
    assert machine.tried == [PASSWORD]
    (machine.place / "note").unlink()
    with pytest.raises(BasculeError, match="sudo asked again"):
        Agent(machine.way("wr0ng"), script, "old", Hold(""))


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """No thread is left behind."""
    before = threading.active_count()
    yield
    assert threading.active_count() <= before
