"""What `ssh -G` says, as another client takes it."""

from __future__ import annotations

import pytest

from bascule.system import ssh_config

SAID = """\
host db
user deploy
hostname DB.example
port 2222
identitiesonly no
identityfile ~/.ssh/id one
identityfile %d/.ssh/id_two
userknownhostsfile ~/.ssh/known_hosts /etc/bascule/known_hosts
globalknownhostsfile /etc/ssh/ssh_known_hosts
stricthostkeychecking true
"""


def read(
    more: str = "", ssh: tuple[str, ...] = ("ssh", "-F", "config", "-o", "X=y", "--", "db")
) -> ssh_config.Endpoint:
    """Read it, with further lines first: ssh prints one of each."""
    return ssh_config.read(more + SAID, ssh, lambda path: path.replace("~", "/root", 1))


def test_where_who_and_by_which_keys() -> None:
    found = read()
    assert (found.host, found.port, found.user) == ("DB.example", 2222, "deploy")
    assert found.key_name == "[db.example]:2222"
    assert found.keys == ("/root/.ssh/id one", "/root/.ssh/id_two")
    assert found.known_hosts == ("/root/.ssh/known_hosts", "/etc/bascule/known_hosts", "/etc/ssh/ssh_known_hosts")
    assert found.agent
    assert found.proxy == ()


@pytest.mark.parametrize(
    ("more", "name"),
    [("port 22\n", "db.example"), ("hostkeyalias db\n", "db"), ("hostkeyalias none\n", "[db.example]:2222")],
)
def test_under_which_name_its_keys_are_known(more: str, name: str) -> None:
    assert read(more).key_name == name


@pytest.mark.parametrize("more", ["identitiesonly yes\n", "identityagent none\n"])
def test_no_agent_is_asked_where_ssh_would_ask_none(more: str) -> None:
    assert not read(more).agent


def test_known_hosts_may_be_none() -> None:
    found = read("userknownhostsfile none\n")
    assert found.known_hosts == ("/etc/ssh/ssh_known_hosts",)


STRICT = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes")


@pytest.mark.parametrize(
    ("more", "ssh", "proxy"),
    [
        (
            "proxyjump bastion\n",
            ("ssh", "-F", "config", "--", "db"),
            ("ssh", "-F", "config", *STRICT, "-W", "[DB.example]:2222", "ssh://bastion"),
        ),
        (
            "proxyjump a,jump@b:2200\n",
            ("/bin/ssh", "-Fconfig", "--", "db"),
            ("/bin/ssh", "-F", "config", *STRICT, "-J", "a", "-W", "[DB.example]:2222", "ssh://jump@b:2200"),
        ),
        (
            "proxycommand nc %h %p %r %% %x\n",
            ("ssh", "--", "db"),
            ("sh", "-c", "exec nc DB.example 2222 deploy % %x"),
        ),
        ("proxyjump none\nproxycommand none\n", ("ssh", "--", "db"), ()),
    ],
)
def test_what_leads_there(more: str, ssh: tuple[str, ...], proxy: tuple[str, ...]) -> None:
    assert read(more, ssh).proxy == proxy


def test_keys_that_are_revoked() -> None:
    text = "db ssh-ed25519 AAAA1\n@revoked * ssh-ed25519 AAAA2 why\n@cert-authority * ssh-rsa AAAA3\n@revoked\n"
    assert ssh_config.revoked(text) == {"AAAA2"}
