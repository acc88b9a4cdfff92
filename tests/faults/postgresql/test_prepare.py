"""What goes wrong while the standby is built or follows: it is said, nothing is lost, and the next run goes on."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.faults.pair import Pair

CLUSTERS = "/var/lib/postgresql/15"
PARTIAL = f"{CLUSTERS}/main.bascule-seed"
SLOW = {"postgresql_replication_max_rate": "4M"}
# One that stands alone, and the identity of a table that is logged itself.
UNLOGGED_SEQUENCES = """
create unlogged sequence app.tickets; select setval('app.tickets', 782);
create table app."Given" (i int generated always as identity); alter sequence app."Given_i_seq" set unlogged;
"""
NO_UNLOGGED_SEQUENCES = 'drop sequence app.tickets; drop table app."Given"'


@pytest.fixture(scope="module")
def pair(standing: Pair) -> Pair:
    return standing


@pytest.fixture(autouse=True)
def source_serves(pair: Pair) -> Iterator[None]:
    """Whatever happens to the standby: the source goes on, and is the only one that does."""
    yield
    pair.sql("source", "insert into app.logins select gen_random_uuid(), 1, now(), 'served'")
    guards = [pair.run(side, ["cat", "/var/lib/bascule/guard/accounts_db.json"]).out for side in ("source", "target")]
    assert '"closed"' not in guards[0]
    assert '"open"' not in guards[1]


def login(pair: Pair, client: str, number: int = 1) -> None:
    """Write rows at the source."""
    row = f"gen_random_uuid(), 1, now(), '{client}'"
    pair.sql("source", f"insert into app.logins select {row} from generate_series(1, {number})")


def expired(pair: Pair, side: str) -> str:
    """The certificate of a side as it would be had its time run out yesterday."""
    old = x509.load_pem_x509_certificate((pair.work / f"ca/hosts/{pair.host(side)}.crt").read_bytes())
    signer = serialization.load_pem_private_key((pair.work / "ca/ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer)
    builder = builder.public_key(old.public_key()).serial_number(old.serial_number)
    builder = builder.not_valid_before(now - datetime.timedelta(days=9))
    builder = builder.not_valid_after(now - datetime.timedelta(days=1))
    for extension in old.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@contextlib.contextmanager
def small_disk(pair: Pair, size: str) -> Iterator[None]:
    """Have the target's clusters on a small file system of their own; what is there in the end stays."""
    script = f"""
systemctl stop postgresql@15-main
mount -t tmpfs -o size={size} tmpfs /mnt
cp -a {CLUSTERS}/. /mnt
chown --reference={CLUSTERS} /mnt
mount --bind /mnt {CLUSTERS}
umount /mnt
"""
    pair.must_run("target", ["bash", "-ec", script])
    try:
        yield
    finally:
        script = f"""
systemctl stop postgresql@15-main
rm -f {CLUSTERS}/full
mount --bind {CLUSTERS} /mnt
umount {CLUSTERS}
rm -r {CLUSTERS}/*
cp -a /mnt/. {CLUSTERS}
umount /mnt
"""
        pair.must_run("target", ["bash", "-ec", script])


def fill(pair: Pair) -> None:
    """Leave no room on it."""
    pair.run("target", ["dd", "if=/dev/zero", f"of={CLUSTERS}/full", "bs=1M", "status=none"])


def test_every_reason_is_named_at_once_and_nothing_is_changed(pair: Pair) -> None:
    pair.sql("source", "create unlogged table app.scratch (a int)")
    pair.sql("source", UNLOGGED_SEQUENCES)
    pair.sql("source", "create role bascule_replication superuser")
    look = ["ls", "/etc/postgresql/15/main/conf.d", CLUSTERS]
    before = pair.must_run("target", look)
    try:
        refused = pair.verb("prepare", extra={"postgresql_replication_max_slot_wal_keep_size": "900TB"})
    finally:
        pair.sql("source", f"drop table app.scratch; {NO_UNLOGGED_SEQUENCES}; drop role bascule_replication")
    assert not refused.ok
    for reason in (
        "unlogged tables in courses are not replicated: app.scratch",
        'unlogged sequences in courses are not replicated and would give values again: app."Given_i_seq", app.tickets',
        "the replication role is a superuser",
        "lower postgresql_replication",
    ):
        assert reason in refused.stdout, refused.stdout[-3000:]
    assert "state now: nothing was changed" in refused.stdout
    assert before == pair.must_run("target", look)


@pytest.mark.long
def test_a_target_that_would_have_smaller_settings_is_refused(pair: Pair) -> None:
    local = "/etc/postgresql/15/main/conf.d/99-local.conf"
    pair.must_run("target", ["tee", local], "max_connections = 50\n")
    try:
        refused = pair.verb("prepare")
    finally:
        pair.must_run("target", ["rm", local])
    assert not refused.ok
    assert "max_connections is 50, not 100" in refused.stdout
    assert pair.run("target", ["test", "-e", PARTIAL]).rc == 1


@pytest.mark.long
def test_what_the_files_of_either_side_would_do_to_writes_is_refused(pair: Pair) -> None:
    local = "/etc/postgresql/15/main/conf.d/99-local.conf"
    pair.must_run("target", ["tee", local], "synchronous_standby_names = 'gone'\nfsync = off\n")
    # What waits for a restart wins after it, at the other side too.
    pair.sql("source", "alter system set listen_addresses = 'localhost,192.0.2.1'")
    try:
        refused = pair.verb("audit")
    finally:
        pair.must_run("target", ["rm", local])
        pair.sql("source", "alter system reset listen_addresses")
    assert not refused.ok
    for reason in (
        f"synchronous_standby_names is 'gone' in the files of {pair.host('target')}",
        f"fsync is off in the files of {pair.host('target')}",
        "listen_addresses is set by ALTER SYSTEM at the source",
    ):
        assert reason in refused.stdout, refused.stdout[-3000:]
    pair.must("audit")


@pytest.mark.long
def test_a_data_directory_that_nothing_can_change_places_with_is_refused(pair: Pair) -> None:
    data = f"{CLUSTERS}/main"
    pair.must_run("target", ["mount", "--bind", data, data])
    try:
        mounted = [pair.verb(verb) for verb in ("audit", "prepare")]
    finally:
        pair.must_run("target", ["umount", data])
    pair.must_run("target", ["bash", "-ec", f"mv {data} /var/lib/postgresql/real; ln -s ../real {data}"])
    try:
        linked = [pair.verb(verb) for verb in ("audit", "prepare")]
    finally:
        pair.must_run("target", ["bash", "-ec", f"rm {data}; mv /var/lib/postgresql/real {data}"])
    for refused, why in ((mounted, "is a mount point"), (linked, "is a symbolic link (to ../real)")):
        for done in refused:
            assert not done.ok
            assert f"{data} {why}" in done.stdout
            assert f"mount the volume at {CLUSTERS} or above" in done.stdout
    assert pair.run("target", ["test", "-e", PARTIAL]).rc == 1


@pytest.mark.long
def test_an_expired_certificate_is_noticed_before_anything_is_copied(pair: Pair) -> None:
    place = "/etc/postgresql/tls/server.crt"
    good = pair.must_run("source", ["cat", place])
    pair.must_run("source", ["tee", place], expired(pair, "source"))
    try:
        refused = pair.verb("prepare")
    finally:
        pair.must_run("source", ["tee", place], good)
    assert not refused.ok
    assert "certificate verify failed" in refused.stdout or "certificate has expired" in refused.stdout
    assert "nothing was copied" in refused.stdout
    assert pair.run("target", ["test", "-e", PARTIAL]).rc == 1


@pytest.mark.long
def test_a_full_disk_at_the_target_ends_the_base_backup_and_is_named(pair: Pair) -> None:
    with small_disk(pair, "400M"):
        running = pair.start_verb("prepare", extra=SLOW)
        pair.until("target", f"test -d {PARTIAL}/base", running=running)
        fill(pair)
        refused = pair.finish(running)
        left = pair.must_run("target", ["ls", CLUSTERS]).split()
    assert not refused.ok
    assert "No space left on device" in refused.stdout
    assert "holds no usable copy" in refused.stdout
    # What had come is gone, so that there is room to mend it.
    assert left == ["full", "main"]


def test_a_base_backup_starts_again_after_the_link_was_cut(pair: Pair) -> None:
    running = pair.start_verb("prepare", extra=SLOW)
    pair.until("target", f"test -d {PARTIAL}/base", running=running)
    pair.cut()
    try:
        broken = pair.finish(running)
    finally:
        pair.restore()
    assert not broken.ok
    assert "the base backup of accounts_db to run or to be done" in broken.stdout
    again = pair.must("prepare", "check")
    assert "the base backup starts again from nothing" in again.stdout
    assert pair.sql("target", "select pg_is_in_recovery()") == "t"


def test_what_the_log_does_not_carry_is_refused_also_when_it_was_made_since(pair: Pair) -> None:
    pair.sql("source", UNLOGGED_SEQUENCES)
    try:
        refused = pair.verb("check")
    finally:
        pair.sql("source", NO_UNLOGGED_SEQUENCES)
    assert not refused.ok
    assert 'would give values again: app."Given_i_seq", app.tickets' in refused.stdout, refused.stdout[-3000:]
    assert "nothing was changed" in refused.stdout
    pair.must("check")


@pytest.mark.long
def test_the_log_goes_on_after_the_link_was_cut(pair: Pair) -> None:
    pair.cut()
    try:
        login(pair, "cut", 50)
        behind = pair.verb("sync", extra={"postgresql_replication_sync_timeout": 3})
    finally:
        pair.restore()
    assert not behind.ok
    assert "to have replayed" in behind.stdout or "to follow" in behind.stdout
    pair.must("sync")
    assert pair.sql("target", "select count(*) from app.logins where client = 'cut'") == "50"


@pytest.mark.long
def test_a_full_disk_at_the_standby_is_named_and_it_goes_on_when_there_is_room(pair: Pair) -> None:
    settings = "select pg_reload_conf()"
    pair.sql("source", "alter system set max_slot_wal_keep_size = '1GB'")
    pair.sql("source", settings)
    with small_disk(pair, "1G"):
        pair.must_run("target", ["systemctl", "start", "postgresql@15-main"])
        pair.must("sync")
        fill(pair)
        for _ in range(10):
            login(pair, "full")
            pair.sql("source", "select pg_switch_wal()")
        behind = pair.verb("sync", extra={"postgresql_replication_sync_timeout": 4})
        pair.must_run("target", ["rm", f"{CLUSTERS}/full"])
        pair.must("sync")
    pair.must_run("target", ["systemctl", "start", "postgresql@15-main"])
    pair.sql("source", "alter system reset max_slot_wal_keep_size")
    pair.sql("source", settings)
    assert not behind.ok
    assert "the log that comes has no room" in behind.stdout, behind.stdout[-3000:]
    assert f"{pair.host('source')} is as it was" in behind.stdout
    pair.must("sync")
    assert pair.sql("target", "select count(*) from app.logins where client = 'full'") == "10"


@pytest.mark.long
def test_a_wrong_replication_password_is_named_and_mended_by_prepare(pair: Pair) -> None:
    pair.sql("source", "alter role bascule_replication password 'something else'")
    pair.sql("source", "select pg_terminate_backend(pid) from pg_stat_replication")
    refused = pair.verb("sync", extra={"postgresql_replication_sync_timeout": 4})
    assert not refused.ok
    assert "password authentication failed" in refused.stdout
    pair.must("prepare")
    assert pair.sql("source", "select state from pg_stat_replication") == "streaming"


def test_a_lost_slot_is_never_switched_to_and_prepare_builds_the_standby_again(pair: Pair) -> None:
    pair.must_run("target", ["systemctl", "stop", "postgresql@15-main"])
    filler = "insert into app.logins select gen_random_uuid(), 1, now(), repeat('x', 100) from generate_series(1, 2000)"
    for _ in range(6):
        pair.sql("source", filler)
        pair.sql("source", "select pg_switch_wal()")
    pair.sql("source", "checkpoint")
    assert pair.sql("source", "select wal_status from pg_replication_slots") == "lost"
    pair.must_run("target", ["systemctl", "start", "postgresql@15-main"])
    for verb in ("sync", "check", "switch"):
        refused = pair.verb(verb, extra={"postgresql_replication_sync_timeout": 4})
        assert not refused.ok, verb
        if verb != "switch":
            assert "lost" in refused.stdout, refused.stdout[-3000:]
            assert "the standby was away for more log than" in refused.stdout
            assert "20_prepare.yml" in refused.stdout
    assert pair.guard("source")["status"] == "open"
    again = pair.must("prepare", "check")
    assert "the standby is built again from nothing" in again.stdout
