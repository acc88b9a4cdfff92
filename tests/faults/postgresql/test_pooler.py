"""Who may not come through a pooler, and what a pooler does not accept from a server."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator

import pytest
from bascule_lab import shell

from tests.faults.pair import ROOT, SIDES, Pair, Ran
from tests.faults.postgresql.test_prepare import expired

HOME = "/etc/bascule/pooler/accounts_db"
UNIT = "bascule-pooler-accounts_db.service"
AGENT = "/usr/local/lib/bascule/bascule.pyz"
PATIENCE = 30.0


@pytest.fixture(scope="module")
def pair(riding: Pair) -> Pair:
    """As it was prepared: this file is the first of those that share it."""
    return riding


@pytest.fixture(autouse=True)
def serves(pair: Pair) -> Iterator[None]:
    """Whatever a test breaks: afterwards both poolers serve, and bring everyone to the source."""
    yield
    for side in SIDES:
        # A pooler that was just refused comes back to the server after a moment.
        found = ""
        deadline = time.monotonic() + PATIENCE
        while found != pair.addresses["source"]:
            assert time.monotonic() < deadline, f"the pooler of {side} brings nobody to the source, but to {found!r}"
            found = write(pair, side).out.strip()


def psql(
    pair: Pair, side: str, sql: str, *, port: int = 6432, user: str = "lab_data", password: str = "", **options: str
) -> Ran:
    """Run SQL as a client that stands at the target, through a side's pooler or at its server."""
    secret = {"lab_data": "data_password", "courses": "app_password"}[user]
    settings = {
        "host": pair.addresses[side],
        "port": str(port),
        "dbname": "courses",
        "user": user,
        "sslmode": "verify-full",
        "sslrootcert": "/etc/lab/tls/ca.crt",
        "connect_timeout": "5",
        **options,
    }
    given = password or f"$(cat /etc/lab/secrets/{secret})"
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    # What ends at once may end before anybody reads what it said.
    command = f'export PGPASSWORD="{given}"; psql -XAtq "{words}"; status=$?; sleep 0.2; exit $status'
    return pair.run("target", ["bash", "-c", command], sql)


def write(pair: Pair, side: str, password: str = "") -> Ran:
    """Write a row; the answer is the address of the server that took it."""
    insert = "insert into lab.data_layer values (gen_random_uuid(), now()) returning inet_server_addr()"
    return psql(pair, side, insert, password=password)


def rows(pair: Pair) -> str:
    return pair.sql("source", "select count(*) from lab.data_layer")


def drive(pair: Pair, side: str, code: str, package: str = AGENT) -> Ran:
    """Drive a side's pooler on its host, as a switch does."""
    head = f"import sys, json; sys.path.insert(0, {package!r})\n"
    head += "from bascule.postgresql.io.cluster.cluster import load_spec\n"
    head += "from bascule.postgresql.io.pooler.console import Pooler, PoolerBusy\n"
    return pair.run(side, ["python3", "-"], head + "spec = load_spec('accounts_db')\n" + code)


def outcomes(said: str) -> list[str]:
    """How the task that sees to the poolers ended, for each side."""
    task = said.split("See to the pooler of each side]", 1)[1].split("\nTASK", 1)[0]
    return re.findall(r"^(ok|changed): ", task, re.MULTILINE)


def state(pair: Pair) -> str:
    """Everything that prepare writes for the poolers, and since when they run."""
    look = f"cd {HOME} && sha256sum * && stat -c '%n %a %U' * && cat /etc/systemd/system/{UNIT}"
    look += f" && systemctl show -p MainPID,ActiveState,UnitFileState {UNIT}"
    return "".join(pair.must_run(side, ["bash", "-c", look]) for side in SIDES)


def test_both_poolers_bring_clients_to_the_source(pair: Pair) -> None:
    for side in SIDES:
        done = write(pair, side)
        assert done.out.strip() == pair.addresses["source"], done.err


@pytest.mark.long
def test_a_second_run_and_a_check_change_nothing(pair: Pair) -> None:
    before = state(pair)
    for check in (False, True):
        done = pair.verb("prepare", check=check)
        assert done.ok, done.stdout[-4000:]
        assert outcomes(done.stdout) == ["ok", "ok"], done.stdout[-4000:]
    assert state(pair) == before


def test_no_secret_is_readable_or_told(pair: Pair) -> None:
    told = (pair.work / "verbs.log").read_text()
    for side in SIDES:
        secret = pair.must_run(side, ["cat", f"{HOME}/users.txt"])
        assert "SCRAM-SHA-256$" in secret
        assert secret.split('"')[3] not in told
        assert pair.must_run(side, ["stat", "-c", "%a %U", f"{HOME}/users.txt"]).split() == ["600", "bascule-pooler"]
        assert pair.run(side, ["runuser", "-u", "postgres", "--", "cat", f"{HOME}/users.txt"]).rc != 0
    assert "SCRAM-SHA-256$" not in told


def test_a_wrong_password_is_refused(pair: Pair) -> None:
    before = rows(pair)
    for side in SIDES:
        done = write(pair, side, password="wrong")
        assert done.rc != 0
        assert "password authentication failed" in done.err or "SASL authentication failed" in done.err
    assert rows(pair) == before


def test_someone_who_was_not_declared_is_refused(pair: Pair) -> None:
    for user in ("courses", "lab_data"):
        database = {"courses": "courses", "lab_data": "bascule_knock_" + pair.host("source").replace("-", "_")}[user]
        done = psql(pair, "source", "select 1", user=user, dbname=database)
        assert done.rc != 0
        assert "login rejected" in done.err, done.err
    # The console is open to the pooler's own account on the host, and to nobody else.
    line = "psql -X -h /run/bascule-pooler-accounts_db -p 6432 -U pgbouncer pgbouncer -c 'show users'"
    assert pair.run("source", ["runuser", "-u", "postgres", "--", "bash", "-c", line]).rc != 0
    assert psql(pair, "source", "show users", dbname="pgbouncer").rc != 0


@pytest.mark.parametrize("place", ["pooler", "server"])
def test_less_than_tls_1_3_is_refused(pair: Pair, place: str) -> None:
    """The server demands it by its owner's own setting, which stays in force."""
    port, user = (6432, "lab_data") if place == "pooler" else (5432, "courses")
    assert psql(pair, "source", "select 1", port=port, user=user).out.strip() == "1"
    done = psql(pair, "source", "select 1", port=port, user=user, ssl_max_protocol_version="TLSv1.2")
    assert done.rc != 0
    assert "protocol version" in done.err or "no pg_hba.conf entry" in done.err, done.err
    clear = psql(pair, "source", "select 1", port=port, user=user, sslmode="disable")
    assert clear.rc != 0
    assert "SSL required" in clear.err or "no pg_hba.conf entry" in clear.err or "rejects" in clear.err, clear.err


def test_a_server_with_an_expired_certificate_gets_nothing(pair: Pair) -> None:
    path = pair.sql("source", "show ssl_cert_file")
    kept = pair.must_run("source", ["cat", path])
    before = rows(pair)
    pair.must_run("source", ["tee", path], expired(pair, "source"))
    pair.sql("source", "select pg_reload_conf()")
    try:
        for side in SIDES:
            # Whoever is connected stays so; the next connection is what counts.
            drive(pair, side, "Pooler(spec)._control.command('RECONNECT courses')")
            done = pair.run(
                "target",
                ["bash", "-c", f"timeout 4 bash -c '{_client(pair, side)}'"],
                "insert into lab.data_layer values (gen_random_uuid(), now())",
            )
            assert done.rc != 0, f"{side} took it: {done.out}"
        said = pair.must_run("target", ["journalctl", "-u", UNIT, "-o", "cat", "-n", "50", "--no-pager"])
        assert "certificate has expired" in said or "certificate verify failed" in said, said
        assert rows(pair) == before
    finally:
        pair.must_run("source", ["tee", path], kept)
        pair.sql("source", "select pg_reload_conf()")


def test_a_pooler_with_an_expired_certificate_is_not_trusted(pair: Pair) -> None:
    kept = pair.must_run("source", ["cat", f"{HOME}/host.crt"])
    pair.must_run("source", ["tee", f"{HOME}/host.crt"], expired(pair, "source"))
    pair.must_run("source", ["systemctl", "reload", UNIT])
    try:
        done = write(pair, "source")
        assert done.rc != 0
        assert "certificate" in done.err, done.err
        # Prepare puts back the host's own certificate, and says so.
        again = pair.must("prepare")
        assert sorted(outcomes(again.stdout)) == ["changed", "ok"]
    finally:
        pair.must_run("source", ["tee", f"{HOME}/host.crt"], kept)
        pair.must_run("source", ["systemctl", "reload", UNIT])


@pytest.mark.long
def test_a_transaction_that_never_ends_is_named_and_everyone_goes_on(pair: Pair) -> None:
    command = ["podman", "exec", "-i", pair.host("target"), "bash", "-c", _client(pair, "target")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write("begin; select 'begun';\n")
        holder.stdin.flush()
        assert holder.stdout.readline().strip() == "begun"
        tried = drive(
            pair,
            "target",
            "with Pooler(spec) as pooler:\n"
            "    try: pooler.pause(1)\n"
            "    except PoolerBusy as busy: print(json.dumps([busy.holders, busy.message(), pooler.paused()]))\n",
        )
        holders, message, paused = json.loads(tried.out)
        assert [(one["user"], one["database"]) for one in holders] == [("lab_data", "courses")]
        assert holders[0]["pid"] > 0
        assert holders[0]["client"].startswith(pair.addresses["target"])
        assert "the pooler was resumed: its clients write as before" in message
        assert paused is False
        assert write(pair, "target").rc == 0
        holder.stdin.close()
        assert holder.wait(timeout=20) == 0
    done = drive(pair, "target", "with Pooler(spec) as p: p.pause(1); print(p.paused()); p.resume(); print(p.paused())")
    assert done.out.split() == ["True", "False"], done.err


@pytest.mark.long
def test_it_knocks_past_a_pause_and_silence_is_no_refusal(pair: Pair) -> None:
    address = pair.addresses["source"]
    knock = f"with Pooler(spec) as p: p.pause(2); a = p.knock({address!r}, 5432, 2); p.resume(); print(a.kind)"
    assert drive(pair, "target", knock).out.strip() == "admitted"
    pair.must_run("source", ["systemctl", "stop", "postgresql@15-main.service"])
    try:
        assert drive(pair, "target", knock).out.strip() == "refused"
    finally:
        pair.must_run("source", ["systemctl", "start", "postgresql@15-main.service"])
    pair.until("source", "runuser -u postgres -- psql -Xc 'select 1'")
    pair.cut()
    try:
        assert drive(pair, "target", knock).out.strip() == "none"
    finally:
        pair.restore()
    pair.until("target", _client(pair, "target") + " -c 'select 1'")


@pytest.mark.long
def test_a_changed_password_is_found_by_the_audit_and_mended_by_prepare(pair: Pair) -> None:
    secret = pair.must_run("source", ["cat", "/etc/lab/secrets/data_password"]).strip()
    # The same password with another salt: the server's verifier is a new one.
    pair.sql("source", f"alter role lab_data password '{secret}'")
    pair.must("audit")
    warnings = [word for pooler in pair.fact("audit")["poolers"] for word in pooler["warnings"]]
    assert any("password was changed since" in word for word in warnings), warnings
    pair.must("prepare")
    pair.must("audit")
    warnings = [word for pooler in pair.fact("audit")["poolers"] for word in pooler["warnings"]]
    assert not any("password was changed since" in word for word in warnings), warnings


@pytest.mark.long
def test_an_existing_pooler_is_audited_and_driven(pair: Pair) -> None:
    address, other = pair.addresses["source"], pair.addresses["target"]
    include = "/etc/pgbouncer/bascule.ini"
    pair.must_run("source", ["tee", include], f"courses = host={address} port=5432\n")
    change = f"s/^listen_port.*/listen_port = 6433/; s|^.databases.$|&\\n%include {include}|"
    pair.must_run("source", ["sed", "-i", change, "/etc/pgbouncer/pgbouncer.ini"])
    main = pair.must_run("source", ["cat", "/etc/pgbouncer/pgbouncer.ini"])
    pair.must_run("source", ["systemctl", "start", "pgbouncer.service"])
    try:
        code = (
            "import dataclasses\n"
            f"spec = dataclasses.replace(spec, pooler='existing', pooler_port=6433, pooler_include={include!r}, "
            f"pooler_host={address!r}, pooler_peer_host={other!r})\n"
            "with Pooler(spec) as p:\n"
            "    p.ready(); found = p.audit(5)\n"
            f"    p.pause(2); p.point({other!r}, 5432); there = p.target(), p.paused(); p.resume()\n"
            f"    p.point({address!r}, 5432); print(json.dumps([found, there, p.target(), p.paused()]))\n"
        )
        done = drive(pair, "source", code)
        found, there, here, paused = json.loads(done.out)
        assert (there, here, paused) == ([[other, 5432], True], [address, 5432], False)
        words = " ".join(found["warnings"])
        for word in ("pool_mode is session", "server_tls_sslmode is disable", "server_login_retry is 15"):
            assert word in words
        # Of somebody else's pooler nothing but the one file is written.
        assert pair.must_run("source", ["cat", "/etc/pgbouncer/pgbouncer.ini"]) == main
    finally:
        pair.must_run("source", ["systemctl", "stop", "pgbouncer.service"])


@pytest.mark.long
def test_of_an_existing_pooler_only_hosts_change_and_what_would_stay_is_named(pair: Pair) -> None:
    """With parameters, an alias, a database that nobody declared, and `*`."""
    address, other = pair.addresses["source"], pair.addresses["target"]
    script = (ROOT / "tests/faults/postgresql/pooler_existing.sh").read_text()
    pair.must_run("source", ["bash", "-es", address], script)
    # What a module does on a host is not in the agent: it comes with the module.
    package = "/run/tried"
    pair.must_run("source", ["mkdir", "-p", package])
    shell.run(["podman", "cp", str(ROOT / "python_helpers/bascule"), f"{pair.host('source')}:{package}/bascule"])
    main, include = "/etc/pgbouncer/pgbouncer.ini", "/etc/pgbouncer/databases.ini"
    head = (
        "import dataclasses\n"
        "from bascule.errors import BasculeError\n"
        "from bascule.postgresql.io.pooler import install\n"
        f"spec = dataclasses.replace(spec, pooler='existing', pooler_port=6433, pooler_include={include!r}, "
        f"pooler_host={address!r}, pooler_peer_host={other!r})\n"
    )
    try:
        before = pair.must_run("source", ["cat", include])
        refused = drive(
            pair,
            "source",
            head + "try: install.prepare(spec, spec.side)\n"
            "except BasculeError as error: print(json.dumps([error.found, install.audit(spec, 5)['refused']]))\n",
            package,
        )
        found, said = json.loads(refused.out)
        assert f"* points to {address}" in found, refused.err
        assert len(said) == 1
        assert pair.must_run("source", ["cat", include]) == before
        pair.must_run("source", ["sed", "-i", "/^[*]/d", main])
        pair.must_run("source", ["systemctl", "reload", "pgbouncer"])
        done = drive(
            pair,
            "source",
            head + "with Pooler(spec) as p:\n"
            "    print(json.dumps([install.prepare(spec, spec.side), install.prepare(spec, spec.peer_side),\n"
            f"        open({include!r}).read(), p._known(), p.target(), install.prepare(spec, spec.side)]))\n",
            package,
        )
        first, second, text, known, target, third = json.loads(done.out)
        assert (first["changed"], second["changed"], third["changed"]) == (False, True, True), done.err
        assert text == before.replace(address, other)
        assert target == [other, 5432]
        assert known["courses"]["pool_size"] == "40"
        assert known["courses_batch"]["pool_mode"] == "session"
        assert {known[name]["host"] for name in ("courses", "courses_batch", "other")} == {other}
        assert pair.must_run("source", ["cat", include]) == before
    finally:
        pair.must_run("source", ["systemctl", "stop", "pgbouncer.service"])


@pytest.mark.long
def test_a_target_outlives_a_power_cut(pair: Pair) -> None:
    pair.kill("target")
    pair.boot("target")
    pair.until("target", f"systemctl is-active {UNIT}")
    found = drive(pair, "target", "with Pooler(spec) as p: print(json.dumps([p.target(), p.paused()]))")
    assert json.loads(found.out) == [[pair.addresses["source"], 5432], False], found.err
    # A closed side stays down until it is told to follow; other files go on with this pair.
    pair.must("sync")


def _client(pair: Pair, side: str) -> str:
    """A shell command that opens a session through a side's pooler and runs what comes on its standard input."""
    where = f"host={pair.addresses[side]} port=6432 dbname=courses user=lab_data sslmode=verify-full"
    where += " sslrootcert=/etc/lab/tls/ca.crt connect_timeout=5"
    return f'PGPASSWORD=$(cat /etc/lab/secrets/data_password) psql -XAtq -v ON_ERROR_STOP=1 "{where}"'
