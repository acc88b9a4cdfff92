"""What the lab decides before it starts anything: podman's settings, kernel settings, image, bundle, commands."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest
from bascule_lab import bundle, cli, credentials, image, kernel, lifecycle, paths, podman, runtime, storage, topology
from bascule_lab.bundle import Entry
from bascule_lab.errors import LabError
from cryptography import x509
from cryptography.hazmat.primitives import serialization


def test_hybrid_cgroups_take_runc_and_unified_ones_the_default() -> None:
    assert 'runtime="runc"' in runtime.settings_text(unified=False, files=1024, processes=99, runc=True)
    assert "runtime" not in runtime.settings_text(unified=True, files=1024, processes=99, runc=True)
    assert "runtime" not in runtime.settings_text(unified=False, files=1024, processes=99, runc=False)
    assert '"nofile=1024:1024","nproc=99:99"' in runtime.settings_text(True, 1024, 99, True)


def test_unified_cgroups_are_told_by_their_controllers_file(tmp_path: Path) -> None:
    assert not runtime.has_unified_cgroups(tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    assert runtime.has_unified_cgroups(tmp_path)


def test_only_kernel_settings_that_are_too_low_are_raised() -> None:
    low: dict[str, int | None] = {"fs.inotify.max_user_instances": 128, "net.core.rmem_default": 1 << 30}
    assert kernel.to_raise(low) == {"fs.inotify.max_user_instances": 1024}
    assert kernel.to_raise({"fs.inotify.max_user_instances": None}) == {}


def test_the_share_of_the_containers_is_raised_and_put_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A control group is a file, and one that is not there is left out."""
    shares, absent = tmp_path / "cpu.shares", tmp_path / "cpu.weight"
    shares.write_text("1024\n")
    monkeypatch.setattr(kernel, "NEEDED", {str(shares): (8192, "why"), str(absent): (800, "why")})
    monkeypatch.setattr(kernel, "WATCHED", ())
    monkeypatch.setattr(paths, "SYSCTL", tmp_path / "before.json")
    assert kernel.remember_and_raise() == {str(shares): (1024, 8192)}
    assert kernel.remember_and_raise() == {}
    assert (shares.read_text(), absent.exists()) == ("8192\n", False)
    assert kernel.restore(others_run=False) == {str(shares): (8192, 1024)}
    assert shares.read_text() == "1024\n"


def test_package_list_drops_comments_and_repetitions() -> None:
    assert image.package_list(["zstd\n# a comment\nacl  # rights\n\n", "acl\n"]) == ["acl", "zstd"]


def test_the_image_has_another_name_when_anything_in_it_changes() -> None:
    first = image.digest(["a", "b"], b"script")
    assert first == image.digest(["a", "b"], b"script")
    assert (
        len(
            {first, image.digest(["a"], b"script"), image.digest(["a", "b"], b"other"), image.digest(["ab"], b"script")}
        )
        == 4
    )


def test_pack_is_the_same_for_the_same_entries_and_keeps_modes() -> None:
    entries = {"b/two": Entry(b"2", 0o600), "a/one": Entry(b"1", 0o755)}
    data = bundle.pack(entries)
    assert data == bundle.pack(dict(reversed(entries.items())))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(item.name, item.mode, item.mtime) for item in tar] == [("a/one", 0o755, 0), ("b/two", 0o600, 0)]
    assert bundle.fingerprint(data) != bundle.fingerprint(bundle.pack({"b/two": Entry(b"2", 0o600)}))


def test_every_kind_of_host_has_a_set_up_script_that_runs() -> None:
    for host in topology.HOSTS:
        for kind in ("base", host.kind):
            script = paths.LAB_SOURCE / "hosts" / kind / "setup.sh"
            assert script.stat().st_mode & stat.S_IXUSR, script


def test_run_command_gives_each_leg_its_address_and_name() -> None:
    gateway = topology.select(["gw-mtp"])[0]
    command = podman.run_command(gateway, "image:tag", [], [], apparmor=False)
    networks = [command[at + 1] for at, word in enumerate(command) if word == "--network"]
    assert networks[1] == "bascule-link:ip=198.18.8.1,mac=02:00:c6:12:08:01,interface_name=link"
    assert "net.ipv4.ip_forward=1" in command
    assert command[-1] == "image:tag"
    assert not any("apparmor" in word for word in command)
    other = podman.run_command(topology.select(["files-mtp"])[0], "i", ["/dev/loop9:/dev/courses"], ["/a:/b:ro"], True)
    assert "net.ipv4.ip_forward=1" not in other
    assert {"/dev/loop9:/dev/courses", "/a:/b:ro", "apparmor=unconfined"} <= set(other)


def test_only_a_start_of_the_lab_is_waited_for() -> None:
    command = podman.run_command(topology.HOSTS[0], "i", [], [], False)
    assert podman.is_start(["/usr/bin/podman", *command[1:]])
    assert not podman.is_start(["podman", "exec", "bascule-db-mtp", "run"])
    assert not podman.is_start(["podman", "run", "other"])
    assert not podman.is_start([])


def test_an_older_container_is_told_from_a_current_and_an_absent_one() -> None:
    container = podman.Container("x", "1", "running", "sha256:aa")
    assert not lifecycle.is_older(container, "aa")
    assert lifecycle.is_older(container, "bb")
    assert not lifecycle.is_older(None, "bb")


def test_settings_of_a_living_lab_are_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SETTINGS", tmp_path / "settings.json")
    assert lifecycle.settings(None, None) == (1, "1")
    assert lifecycle.settings(1, None) == (1, "1")
    with pytest.raises(LabError, match="made with scale 1 and seed 1, asked for 3 and 1") as caught:
        lifecycle.settings(3, None)
    assert "lab-down" in caught.value.hint


def test_down_keeps_the_caches_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / ".lab"
    (state / "cache").mkdir(parents=True)
    (state / "secrets").mkdir()
    (state / "secrets" / "a").write_text("s")
    (state / "settings.json").write_text("{}")
    monkeypatch.setattr(paths, "STATE", state)
    monkeypatch.setattr(paths, "PROJECT", tmp_path)
    assert lifecycle.remove_state(keep=(state / "cache",)) == [".lab/cache"]
    assert [path.name for path in state.iterdir()] == ["cache"]
    assert lifecycle.remove_state(keep=()) == []
    assert not state.exists()
    assert lifecycle.remove_state(keep=()) == []


def test_images_grow_with_the_scale() -> None:
    assert storage.image_size(4) == 4 * storage.image_size(1)


def test_secrets_are_private_random_and_kept(tmp_path: Path) -> None:
    credentials.make_secrets(tmp_path / "secrets")
    before = {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    assert len(set(before.values())) == len(before) == len(credentials.PASSWORDS) + 2
    credentials.make_secrets(tmp_path / "secrets")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "secrets").iterdir()}
    for path in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert before["tsig.secret"] in before["tsig.key"]


def test_certificates_name_the_host_and_are_signed_by_the_lab(tmp_path: Path) -> None:
    credentials.make_authority(tmp_path)
    credentials.make_certificate(tmp_path, "db-mtp", ["db-mtp", "db", "198.18.1.10"])
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    certificate = x509.load_pem_x509_certificate((tmp_path / "hosts/db-mtp.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["db-mtp", "db"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["198.18.1.10"]
    assert stat.S_IMODE((tmp_path / "hosts/db-mtp.key").stat().st_mode) == 0o600


def test_ssh_keys_load_and_known_hosts_pins_names_and_addresses(tmp_path: Path) -> None:
    credentials.make_ssh(tmp_path, [("db-mtp", "198.18.1.10")])
    serialization.load_ssh_private_key((tmp_path / "controller").read_bytes(), None)
    line = (tmp_path / "known_hosts").read_text()
    key = (tmp_path / "hosts/db-mtp.pub").read_text().split()[1]
    assert line == f"db-mtp,198.18.1.10 ssh-ed25519 {key}\n"


def test_scenario_writes_what_a_host_needs(tmp_path: Path) -> None:
    bundle.scenario(tmp_path, {"a": "192.0.2.1", "b": "192.0.2.2"})
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
    assert {
        "etc/lab/tls/host.key",
        "etc/lab/secrets/tsig.key",
        "opt/lab/hosts/db/setup.sh",
        "opt/lab/seed/tree.py",
    } <= set(names)
    assert stat.S_IMODE((tmp_path / "a.tar").stat().st_mode) == 0o600


@pytest.mark.parametrize("arguments", [["up", "--only", "nowhere"], ["reboot", "nowhere"], ["link", "sever"], []])
def test_the_command_line_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.parser().parse_args(arguments)
    assert caught.value.code == 2
