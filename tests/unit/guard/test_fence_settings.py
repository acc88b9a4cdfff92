"""What prepare leaves for the boot fence, and that no two components have control of the same thing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from pathlib import Path

import pytest

from bascule.errors import GuardRefused
from bascule.guard.io import fence_settings
from bascule.system.io import storage


def test_it_is_written_once(tmp_path: Path) -> None:
    arguments = ("courses", "web-mtp", "entrance", "/etc/haproxy/mode.map")
    assert fence_settings.keep(*arguments, base=tmp_path / "lib", check=True, key="mode") is True
    assert not (tmp_path / "lib").exists()
    assert fence_settings.keep(*arguments, base=tmp_path / "lib", key="mode") is True
    assert fence_settings.keep(*arguments, base=tmp_path / "lib", key="mode") is False
    assert fence_settings.keep(*arguments, base=tmp_path / "lib", check=True, key="other") is True
    assert fence_settings.read("courses", tmp_path / "lib") == {
        "kind": "entrance",
        "component": "courses",
        "side": "web-mtp",
        "controls": "/etc/haproxy/mode.map",
        "key": "mode",
    }
    assert fence_settings.read("dashboard", tmp_path / "lib") is None


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", ["srv/a", "srv/./a/", "link"])
def test_one_thing_is_not_of_two_components(tmp_path: Path, name: str, check: bool) -> None:
    """Each would open what the other one keeps closed, whatever name it has for it."""
    (tmp_path / "srv" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "srv" / "a")
    base = tmp_path / "lib"
    fence_settings.keep("one", "files-mtp", "files", str(tmp_path / "srv" / "a"), base=base)
    with pytest.raises(
        GuardRefused,
        match=r"one has control of it.*state now: nothing.*remove .*/lib/one/fence.json and .*/guard/one.json",
    ):
        fence_settings.keep("two", "files-mtp", "files", str(tmp_path / name), base=base, check=check)
    assert fence_settings.read("two", base) is None


def test_others_are_left_alone(tmp_path: Path) -> None:
    for other, settings in {
        "elsewhere": {"kind": "files", "controls": "/srv/b"},
        "of_another_kind": {"kind": "postgresql", "controls": "/srv/a"},
        "not_told": {"kind": "files"},
        "no_settings": None,
    }.items():
        (tmp_path / other).mkdir()
        (tmp_path / other / "fence.json").write_text(json.dumps(settings))
    (tmp_path / "empty").mkdir()
    assert fence_settings.keep("one", "files-mtp", "files", "/srv/a", base=tmp_path) is True


def test_of_two_prepared_at_once_one_is_refused(tmp_path: Path) -> None:
    def keep(component: str) -> bool:
        try:
            return fence_settings.keep(component, "files-mtp", "files", "/srv/a", base=tmp_path)
        except GuardRefused:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(keep, [f"c{number}" for number in range(8)])) == 1


def test_what_is_fenced_stays_so_whoever_else_has_control_of_it(tmp_path: Path) -> None:
    fence_settings.keep("one", "pg-mtp", "postgresql", "/var/lib/postgresql/15/main", base=tmp_path)
    fence_settings.write("two", "pg-mtp", "postgresql", "/var/lib/postgresql/15/main", base=tmp_path)
    assert fence_settings.read("two", tmp_path) is not None


def test_it_lies_where_the_boot_fence_looks_and_everybody_may_read_it(tmp_path: Path) -> None:
    assert Path("/var/lib/bascule") == fence_settings.STATE
    assert fence_settings.keep("one", "files-mtp", "files", "/srv/a", base=tmp_path / "lib")
    assert (tmp_path / "lib").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "lib" / "one" / "fence.json").is_file()
    (tmp_path / "lib" / "one" / "fence.json").write_text("[]")
    assert fence_settings.read("one", tmp_path / "lib") is None


def test_one_that_is_prepared_beside_another_waits_for_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with storage.locked(tmp_path / "fence.lock"):
            waiting = pool.submit(fence_settings.keep, "one", "files-mtp", "files", "/srv/a", base=tmp_path)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.2)
            assert fence_settings.read("one", tmp_path) is None
        assert waiting.result(timeout=30) is True
