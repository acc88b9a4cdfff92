"""Names, what may be removed, where a way back leads, declarations, recipes, units, and what HAProxy says."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import yaml

from bascule.application import balance, recipes, releases, services, unit
from bascule.application.releases import DeployError, Look
from bascule.errors import PlanError

from .world import DECLARED, STACKS, recipe, service

STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight
3 be_shop 1 one 192.0.2.1 2 0 1 1
3 be_shop 2 two 192.0.2.2 2 8 1 1
3 be_shop 3 three 192.0.2.3 0 0 1 1
3 be_shop 4 four 192.0.2.4 0 1 1 1
3 be_shop 5 five 192.0.2.5 2 0 0 1
"""
STAT = [
    {"pxname": "be_shop", "svname": name, "status": status, "scur": scur, "qcur": ""}
    for name, status, scur in (
        ("one", "UP", "2"), ("two", "DRAIN", "1"), ("three", "DOWN", "0"), ("four", "MAINT", "0"), ("five", "UP", "0"),
    )
]  # fmt: skip


def test_a_release_is_named_by_version_and_artefact() -> None:
    digest = "0123456789abcdef"
    assert releases.name("1.2.0", digest) == "1.2.0-0123456789ab"
    assert releases.version_of(releases.name("1.2.0-rc.1", digest)) == "1.2.0-rc.1"
    assert releases.name("1.2.0", digest) != releases.name("1.2.0", "f" + digest)
    for odd in ("", "../x", "a/b", "-x", "x" * 65, "a b"):
        with pytest.raises(DeployError, match="a version of letters"):
            releases.name(odd, digest)


@pytest.mark.parametrize(
    ("current", "good", "keep", "gone"),
    [
        ("d", "abcd", 2, "ab"),
        # Failed ones go, and push nothing out.
        ("b", "ab", 2, "cd"),
        # What serves stays, even where it never was good.
        ("d", "ab", 2, "c"),
        ("a", "abcd", 2, "b"),
        ("d", "abcd", 1, "ab"),
        ("d", "abcd", 9, ""),
    ],
)
def test_what_may_be_removed(current: str, good: str, keep: int, gone: str) -> None:
    assert releases.removable(Look(("a", "b", "c", "d"), current, tuple(good)), keep) == list(gone)


@pytest.mark.parametrize(
    ("hosts", "broken", "leads_to"),
    [
        # Serving and good, on each of two hosts.
        ([("c", "abc"), ("c", "abc")], "", "b"),
        ([("c", "ab"), ("b", "ab")], "", "b"),
        ([("c", "ab"), ("c", "ab")], "", "b"),
        ([("c", "abc"), ("c", "ab")], "", "b"),
        ([("b", "ab"), ("b", "ab")], "c", "b"),
        ([("b", "ab"), ("b", "ab")], "", "a"),
        # Good, and gone from one of them.
        ([("c", "bc"), ("c", "abc")], "", "b"),
    ],
)
def test_where_a_way_back_leads(hosts: list[tuple[str, str]], broken: str, leads_to: str) -> None:
    looks = {str(n): Look(("a", "b", "c"), current, tuple(good)) for n, (current, good) in enumerate(hosts)}
    assert releases.back_to(looks, broken) == leads_to


def test_there_may_be_no_way_back() -> None:
    for looks in (
        {"h": Look(("a",), "a", ("a",))},
        {"h": Look(("a", "b"), "b", ("a", "b")), "i": Look(("a", "b"), "b", ("b",))},
        {"h": Look(("b",), "b", ("a", "b"))},
    ):
        with pytest.raises(DeployError, match="to go back to"):
            releases.back_to(looks)


def test_services_come_with_what_others_depend_on_first() -> None:
    given = {"web": {**DECLARED, "depends_on": ["api"]}, "api": {**DECLARED, "depends_on": ["base"]}, "base": DECLARED}
    known = services.read(given)
    assert list(known) == ["base", "api", "web"]
    assert [one.name for one in services.chosen(known, "all")] == ["base", "api", "web"]
    assert [one.name for one in services.chosen(known, "api")] == ["api"]
    with pytest.raises(PlanError, match="a service out of base, api, web, or all"):
        services.chosen(known, "shop")
    assert known["api"].entrance.servers == {host: host for host in DECLARED["hosts"]}
    assert known["api"].batches(["a", "b", "c"]) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"stak": "x"}, "stak is nothing"),
        ({"folder": "/"}, "folder is a path of its own"),
        ({"folder": "/srv"}, "folder is a path of its own"),
        ({"folder": "/srv/../etc"}, "folder is a path of its own"),
        ({"account": "root"}, "account is not root"),
        ({"artefact": "/a.tar.gz"}, r"artefact has {version}"),
        ({"port": "8000"}, "port is a whole number"),
        ({"keep": 1}, "keep is a whole number from 2 to 100"),
        ({"health_seconds": -1}, "health_seconds is a whole number from 0"),
        ({"batch": 0}, "batch is a whole number"),
        ({"hosts": {}}, "hosts is addresses"),
        ({"shared": ["../etc"]}, "shared path"),
        ({"shared": ["/etc"]}, "shared path"),
        ({"depends_on": ["x"]}, "depends_on names x"),
        ({"depends_on": ["shop"]}, "circle: shop"),
        ({"interruption": "yes"}, "interruption is true or false"),
        ({"entrance": {"hosts": [], "socket": "s", "backend": "b"}}, "entrance.hosts names"),
        ({"entrance": {"hosts": ["g"], "socket": "s", "backend": "b; x"}}, "no name that HAProxy takes"),
        (
            {"entrance": {"hosts": ["g"], "socket": "s", "backend": "b", "servers": {"app-1": "app-2"}}},
            "one server for each",
        ),
    ],
)
def test_what_is_declared_wrongly_is_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        service(**more)


@pytest.mark.parametrize("path", sorted(STACKS.glob("*.yml")), ids=lambda path: path.stem)
def test_every_recipe_fits_the_schema_and_is_named_by_its_file(path: Any) -> None:
    found = recipes.read(yaml.safe_load(path.read_text()), path.name)
    assert found.stack == path.stem
    assert found.health["path"].startswith("/")
    services.fits(service(stack=found.stack), found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"health": {"path": "/", "status": "200", "seconds": 1}}, "health has path"),
        ({"start": "gunicorn"}, "start is made of commands"),
        ({"build": [["x", "{nothing}"]]}, "names {nothing}"),
        ({"build": [["x", "{module"]]}, "a brace without its other half"),
        ({"settings": {"workers": 2}}, "settings is texts"),
        ({"prerequisites": [{"name": "x"}]}, "each of prerequisites"),
        ({"assets": "static"}, "assets is a list"),
        ({"odd": 1}, "odd is nothing"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused(change: dict[str, Any], words: str) -> None:
    given = yaml.safe_load((STACKS / "flask.yml").read_text())
    with pytest.raises(PlanError, match=words):
        recipes.read({**given, **change}, "flask.yml")
    with pytest.raises(PlanError, match="health is missing"):
        recipes.read({key: value for key, value in given.items() if key != "health"}, "flask.yml")


def test_a_setting_that_the_recipe_does_not_have_is_refused() -> None:
    with pytest.raises(PlanError, match=r"module, workers.*found: work;"):
        services.fits(service(settings={"work": "2"}), recipe())


@pytest.mark.parametrize(
    ("found", "at_least", "enough"),
    [("Python 3.11.2", "3.9", True), ("Python 3.8.20", "3.9", False), ("v20.1.0", "18", True), ("", "1", False)],
)
def test_versions_are_compared_by_number(found: str, at_least: str, enough: bool) -> None:
    assert recipes.is_enough(found, at_least) is enough


def test_the_unit_is_the_same_for_all_releases_and_hands_over_words_as_they_are() -> None:
    given = service(settings={"module": 'a:b("100%", $x)'}, environment={"TOKEN": 'a "b" $c 5%'})
    text = unit.text(given, recipe())
    (started,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    words = shlex.split(started.removeprefix("ExecStart="))
    assert words[0] == "/srv/shop/current/venv/bin/gunicorn"
    assert words[-1] == 'a:b("100%%", $$x)'
    assert 'Environment="TOKEN=a \\"b\\" $c 5%%"' in text
    assert ("User=shop" in text, "releases" in text) == (True, False)


def test_what_haproxy_says_is_read() -> None:
    seen = balance.servers(STATE, STAT, "be_shop")
    assert {name: (one.admin, one.status, one.in_flight, one.serves) for name, one in seen.items()} == {
        "one": ("ready", "UP", 2, True),
        "two": ("drain", "DRAIN", 1, False),
        "three": ("ready", "DOWN", 0, False),
        "four": ("maint", "MAINT", 0, False),
        "five": ("ready", "UP", 0, False),
    }
    assert balance.leaves_nobody(seen, ["one"])
    assert not balance.leaves_nobody(seen, ["two", "three"])
    with pytest.raises(DeployError, match="a backend be_none with servers"):
        balance.servers("Can't find backend.\n", STAT, "be_none")
