"""One way to root on a machine, for Ansible's tasks and for all that connects past them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible import constants
from ansible import context as command_line
from ansible.errors import AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader
from ansible.utils.context_objects import CLIArgs
from tests.unit.plugins.test_play import ROOT, World, play

from bascule.errors import BasculeError
from bascule.plugin import way_in
from bascule.plugin.control_sockets import control_directory
from bascule.run.preflight import PHASES
from bascule.system.io import entering, remote
from bascule.system.ssh import Target

PASSWORD = "c0rrect horse"
# Ours: who takes part, and where a machine is reached through a bastion with a key and a port of its own.
HOSTS = """
machines:
  vars:
    ansible_python_interpreter: "{{ ansible_playbook_python }}"
    ansible_user: ops
    ansible_port: 2222
    ansible_ssh_private_key_file: ~/keys/k
    ansible_ssh_common_args: -o ProxyJump=bastion.example.org -o 'UserKnownHostsFile=/a b'
    ansible_ssh_extra_args: -o Compression=yes
  children:
    site_mtp: {vars: {site: mtp}, hosts: {a-mtp: {ansible_host: 192.0.2.1}, j-mtp: {}}}
    site_tls: {vars: {site: tls}, hosts: {a-tls: {}, j-tls: {}}}
"""
# It notes what it was called with, and does what a machine does; its sudo is beside it.
LOGIN = """#!/bin/sh
for word; do host=$script; script=$word; done
for word; do [ "$word" = "$script" ] || printf '%s\\n' "$word"; done >"$BASCULE_TEST_HOSTS/../called/$$"
case $script in
*BASCULE*WANTS*) echo server ;;
*sudo*-S*echo*BECOME*) echo task ;;
*) echo other ;;
esac >"$BASCULE_TEST_HOSTS/../called/$$.kind"
mkdir -p "$BASCULE_TEST_HOSTS/$host"
exec sh -c "$(printf %s "$script" | sed "s|/var/lib/bascule|$BASCULE_TEST_HOSTS/$host|g
s|/run/bascule-modules|$BASCULE_TEST_HOSTS/$host/modules|g")"
"""
# One password; a wrong one is noted.
SUDO = f"""#!/bin/sh
while :; do case $1 in -p) prompt=$2; shift 2 ;; -u) shift 2 ;; -n) echo "sudo: a password is required" >&2; exit 1 ;;
-*) shift ;; *) break ;; esac; done
for try in 1 2 3; do
  printf %s "$prompt" >&2
  IFS= read -r given || exit 1
  echo "$given" >>"$BASCULE_TEST_HOSTS/../tried"
  [ "$given" != "{PASSWORD}" ] || exec "$@"
done
exit 1
"""
MODULE = """
- name: Ask the machine
  bascule_guard: {component: "{{ inventory_hostname }}", side: "{{ bascule_from }}"}
  delegate_to: "{{ bascule_from }}"
  become: true
"""
TASK = """
- name: Ask the machine as Ansible does
  ansible.builtin.command: "true"
  delegate_to: "{{ bascule_from }}"
  become: true
  changed_when: false
"""


@pytest.fixture(autouse=True)
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A command line without options."""
    monkeypatch.setattr(command_line, "CLIARGS", CLIArgs({"timeout": 10, "verbosity": 0}))
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    way_in._task_keys.cache_clear()
    yield
    way_in._task_keys.cache_clear()


def declared(become_pass: str | None = None, **variables: Any) -> Any:
    """The way in with these variables."""
    return way_in.declared("db", {"inventory_hostname": "db", **variables}, become_pass)


def of_a_task(**variables: Any) -> Target:
    """The way in of a task's connection with these variables, as Ansible makes it."""
    become = become_loader.get("sudo")
    become.set_options(var_options=variables)
    connection = connection_loader.get("ssh", PlayContext())
    connection.set_options(task_keys={"timeout": 10}, var_options={"inventory_hostname": "db", **variables})
    connection.set_become_plugin(become)
    return way_in.of(connection)


def test_a_task_and_what_connects_past_it_differ_in_what_ours_has_before() -> None:
    variables = {"ansible_user": "ops", "ansible_ssh_common_args": "-J b", "ansible_become_password": "x"}
    ours, tasks = declared(**variables), of_a_task(**variables)
    assert ours.argv[1:5] == way_in.OWN
    assert ours.argv[5:7] == ("-o", f"ControlPath={control_directory()}/j-%C")
    assert (ours.argv[0], *ours.argv[7:]) == tasks.argv
    assert (ours.sudo, ours.password) == (tasks.sudo, tasks.password)


def test_root_needs_no_sudo_and_another_user_does() -> None:
    assert declared(ansible_user="root").sudo == ()
    assert declared(ansible_user="root", ansible_become=False, ansible_become_method="su").sudo == ()
    assert declared(ansible_user="root", ansible_become_method="no.such").sudo == ()
    assert declared(ansible_user="ops").sudo == ("sudo", "-H")
    assert declared(ansible_ssh_user="ops", ansible_become_exe="/opt/sudo").sudo == ("/opt/sudo", "-H")


def test_where_nobody_says_who_logs_in_it_is_whom_ssh_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own configuration, or the user of this process."""
    for user, sudo in (("root", ()), ("ann", ("sudo", "-H"))):
        monkeypatch.setattr(way_in, "_this_user", lambda found=user: found)
        with monkeypatch.context() as context:
            context.setattr(way_in, "_configured", lambda _command: "")
            assert declared().sudo == sudo
        assert declared(ansible_connection="local") == Target("db", ("sh", "-c"), sudo=sudo)
        config = tmp_path / f"config-{user}"
        for other, needs in (("root", ()), ("ops", ("sudo", "-H"))):
            config.write_text(f"Host d*\n  User {other}\n")
            way_in._configured.cache_clear()
            assert declared(ansible_ssh_common_args=f"-F {config}").sudo == needs


def test_nothing_of_ours_goes_to_a_host_whose_key_nobody_knows() -> None:
    for variable in ("ansible_host_key_checking", "ansible_ssh_host_key_checking"):
        said: dict[str, Any] = {variable: False, "ansible_user": "root"}
        assert not [word for word in declared(**said).argv if "StrictHostKeyChecking" in word]
        assert [word for word in of_a_task(**said).argv if "StrictHostKeyChecking" in word]


def test_a_program_that_says_nothing_of_its_configuration_is_no_obstacle(tmp_path: Path) -> None:
    for name, text in (("fails", "exit 255"), ("silent", "exit 0")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        assert way_in._configured((os.fsencode(program), b"--", b"db")) == ""
    assert way_in._configured((b"/nowhere/ssh", b"--", b"db")) == ""


def test_a_time_to_connect_that_is_declared_is_kept() -> None:
    for variable in ("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"):
        assert "ConnectTimeout=5" not in declared(**{variable: "-o ConnectTimeout=20"}).argv
        assert declared(**{variable: "-o ConnectTimeout=20"}).slow == 15
        assert declared(**{variable: "-o ConnectTimeout 3"}).slow == 0
    assert "ConnectTimeout=5" in declared().argv
    assert declared().slow == 0


def test_what_is_not_used_is_not_read_and_what_cannot_be_split_is_left_as_it_is() -> None:
    """A password for SSH is refused elsewhere; here a template of it that fails would close a way by key."""

    class Broken(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "ansible_password":
                raise AnsibleError("the store is silent")
            return super().__getitem__(name)

    variables = Broken(inventory_hostname="db", ansible_user="ops", ansible_password="x", ansible_become_flags='-p "x')
    where = way_in.declared("db", variables, None)
    assert where.sudo[0] == "sudo"
    assert declared(ansible_user="ops", ansible_become_exe="env LANG=C sudo").sudo == ("env", "LANG=C", "sudo", "-H")


def test_the_command_line_counts_where_no_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"remote_user": "ann", "become_method": "sudo", "ssh_common_args": "-J b", "private_key_file": "/k"}
    monkeypatch.setattr(command_line, "CLIARGS", CLIArgs({"timeout": 10, "verbosity": 0, **words}))
    argv = declared().argv
    assert {'User="ann"', "-J", "b", 'IdentityFile="/k"'} <= set(argv)
    assert 'User="bob"' in declared(ansible_user="bob").argv


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("-H -S -n", ["-H"]),
        ("-HSn", ["-H"]),
        ("--non-interactive --stdin", []),
        ("-E -g admins --preserve-env=LANG", ["-E", "-g", "admins", "--preserve-env=LANG"]),
        ("-unS", ["-unS"]),
    ],
)
def test_sudo_has_the_flags_that_do_not_say_how_it_asks(given: str, kept: list[str]) -> None:
    assert declared(ansible_user="ops", ansible_become_flags=given).sudo == ("sudo", *kept)


def test_a_variable_of_a_machine_is_its_password_and_else_what_was_typed() -> None:
    typed = declared("typed", ansible_user="ops")
    assert typed.password == "typed"
    assert Path(typed.note).parent == Path(constants.DEFAULT_LOCAL_TMP)
    for name in ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"):
        assert declared("typed", ansible_user="ops", **{name: "its own"}).password == "its own"
    assert declared(ansible_user="ops", ansible_become_password=1234).password == "1234"
    assert declared("typed", ansible_user="root").password == ""
    # One note for a machine: it is one account that would be locked.
    assert of_a_task(ansible_user="ops", ansible_become_password="x").note == typed.note
    assert declared("other", ansible_user="ops").note == typed.note
    assert declared("typed", ansible_user="ops", ansible_host="192.0.2.9").note != typed.note


@pytest.mark.parametrize(
    ("variables", "name", "found"),
    [
        ({"ansible_become_user": "postgres"}, "ansible_become_user", "postgres"),
        ({"ansible_become_method": "su"}, "ansible_become_method", "su"),
        ({"ansible_become_method": "no.such"}, "ansible_become_method", "no.such, which Ansible does not know"),
        ({"ansible_become": "no"}, "ansible_become", "false, and ops"),
        ({"ansible_connection": "winrm"}, "ansible_connection", "winrm"),
        ({"ansible_become_password": "s3c\nr3t"}, "ansible_become_password", "several, or a zero byte (not shown)"),
    ],
    ids=["user", "method", "unknown", "none", "connection", "lines"],
)
def test_what_no_connection_of_ours_can_do_is_refused_by_name(variables: dict[str, str], name: str, found: str) -> None:
    with pytest.raises(way_in.WayInError) as caught:
        declared(ansible_user="ops", **variables)
    assert (caught.value.variable, caught.value.found) == (name, found)
    assert f"{name} of db to be " in caught.value.message()
    assert "s3c" not in caught.value.message()


def test_what_ssh_says_of_itself_is_not_asked_for() -> None:
    """A connection that is kept keeps it open: an answer that has come whole would still be waited for."""
    ours, tasks = (make(ansible_user="ops", ansible_ssh_verbosity=3) for make in (declared, of_a_task))
    for where in (ours, tasks):
        assert where.argv[0] == "ssh"
        assert not any(re.fullmatch("-v+", word) for word in where.argv)
    assert ours == declared(ansible_user="ops")


def test_a_machine_without_a_way_in_tells_it_to_whoever_goes_there() -> None:
    class Gone(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            if name == "ansible_become_password":
                raise AnsibleError("s3cret is at the site that is silent")
            return super().__getitem__(name)

    variables = Gone(inventory_hostname="db", ansible_user="ops", ansible_become_password="")
    where = way_in.declared_or_closed("db", variables, None)
    (answer,) = remote.run_on({"x": where}, {"x": "cat"}, {}, 20).values()
    found = "ansible_become_password has to be a value, and is a template that fails (AnsibleError)"
    assert answer == remote.Answer(error=found)
    with pytest.raises(BasculeError, match="a way to root at db"):
        entering.start(where, "cat")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world whose machines are behind a bastion, with a user and a sudo that wants a password."""
    found = World(tmp_path)
    (tmp_path / "inventory/hosts.yml").write_text(HOSTS)
    (tmp_path / "called").mkdir()
    for name, text in {"ssh": LOGIN, "sudo": SUDO}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    for verb in PHASES["audit"]:
        (tmp_path / f"roles/toy/tasks/{verb}.yml").write_text("[]\n")
    return found


def called(world: World) -> dict[str, set[tuple[str, ...]]]:
    """What ssh was called with to reach a-mtp, by who called it; control sockets left out, and what only we add."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for path in (world.path / "called").glob("*.kind"):
        words = path.with_suffix("").read_text().splitlines()
        if words[-1] != "192.0.2.1":
            continue
        kind = path.read_text().strip()
        if words[:4] == list(way_in.OWN):
            kind = "journal"
            del words[:6]
        kept = tuple(word for word in words if word != "--" and not word.startswith("ControlPath="))
        found.setdefault(kind, set()).add(kept)
    return found


def secrets(world: World) -> str:
    """The password as the inventory has it, in a vault's stead."""
    (world.path / "inventory/group_vars/machines.yml").write_text(f"ansible_become_password: {PASSWORD}\n")
    return PASSWORD


def test_tasks_journal_and_module_server_call_ssh_with_the_same_arguments(world: World) -> None:
    secrets(world)
    (world.path / "inventory/group_vars/all/z.yml").write_text("plan_journal_hosts: {mtp: a-mtp, tls: a-tls}\n")
    (world.path / "roles/toy/tasks/verb.yml").write_text(TASK + MODULE)
    rc, output = world.run(play("check"), arguments=("-vvv",))
    assert rc == 0, output
    found = called(world)
    assert {"journal", "server", "task"} <= set(found), output
    everybody = set().union(*found.values())
    assert len(everybody) == 1, found
    (words,) = everybody
    for word in ("ProxyJump=bastion.example.org", "UserKnownHostsFile=/a b", "Compression=yes", "Port=2222"):
        assert word in words
    assert 'User="ops"' in words
    told = "".join(path.read_text() for path in world.path.glob("called/*"))
    kept = "".join(path.read_text("utf-8", "replace") for path in world.path.glob("runs/**/*") if path.is_file())
    there = "".join(path.read_text("utf-8", "replace") for path in world.hosts.rglob("*") if path.is_file())
    assert PASSWORD not in told + kept + there + output
    assert set((world.path / "tried").read_text().splitlines()) == {PASSWORD}


def test_the_audit_tries_a_password_once_on_each_machine_and_names_them(world: World) -> None:
    (world.path / "inventory/group_vars/machines.yml").write_text("ansible_become_password: wr0ng\n")
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 2, output
    assert (world.path / "tried").read_text().splitlines() == ["wr0ng"] * 4, output
    for host in ("a-mtp", "a-tls", "j-mtp", "j-tls"):
        said = (
            rf"- {host}: ansible_user: expected a way in as root, [^;]*; found (sudo asked again|it was refused when)"
        )
        assert re.search(said, output), output
    assert "wr0ng" not in output


def test_the_audit_names_another_user_than_root_with_the_variable(world: World) -> None:
    secrets(world)
    (world.path / "inventory/group_vars/site_tls.yml").write_text("ansible_become_user: postgres\n")
    rc, output = world.run(playbook=ROOT / "playbooks/10_audit.yml")
    assert rc == 2, output
    for host in ("a-tls", "j-tls"):
        assert f"- {host}: ansible_become_user: expected root; found postgres" in output
    assert "- a-mtp:" not in output, "sudo let us in there"


def test_one_site_whose_secrets_are_gone_does_not_keep_the_other_from_closing(world: World) -> None:
    secrets(world)
    (world.path / "inventory/group_vars/site_tls.yml").write_text(
        "ansible_become_password: \"{{ lookup('file', '/not/there') }}\"\n"
    )
    rc, output = world.run(play("freeze"))
    assert rc == 0, output
    assert "ansible_become_password has to be a value, and is a template that fails" in output
    assert list(world.hosts.glob("j-mtp/journal/*/*.jsonl"))
    rc, output = world.run(play("switch"))
    assert rc == 2, "what opens needs both copies"


def test_what_is_typed_for_minus_capital_k_leads_in_until_the_end_of_the_playbook(world: World) -> None:
    """The end's copy is written by Ansible's main process, which no task hands a password."""
    (world.path / "typed").write_text(f"{PASSWORD}\n")
    rc, output = world.run(play("check"), arguments=("--become-password-file", str(world.path / "typed")))
    assert rc == 0, output
    assert "is behind" not in output
    ends = [path.read_text().count('"kind":"end"') for path in world.hosts.glob("j-*/journal/*/*.jsonl")]
    assert ends == [2, 2], output
    assert set((world.path / "tried").read_text().splitlines()) == {PASSWORD}


def test_nothing_else_decides_how_a_machine_is_entered() -> None:
    """Agents, status, the trials before a move and the audit's: all of them ask for a way and go it."""
    texts = {path: path.read_text() for top in ("python_helpers", "plugins") for path in (ROOT / top).rglob("*.py")}
    made = {path.name for path, text in texts.items() if re.search(r"(?<!https\.)\bTarget\(\w*host", text)}
    assert made == {"way_in.py"}
    # The account of a transfer is looked for together with the programs that its rule needs.
    assert {path.name for path, text in texts.items() if '"sudo",' in text} == {"way_in.py", "account.py"}
    started = {path.name for path, text in texts.items() if "remote_command(" in text}
    # By ssh itself, and with paramiko.
    assert started == {"ssh.py", "entering.py", "sftp.py"}
