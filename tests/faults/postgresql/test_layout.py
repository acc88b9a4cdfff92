"""A target whose cluster is nowhere Debian puts it: refused with the variables to set, then moved there and back."""

from __future__ import annotations

import pytest

from tests.faults.conftest import StartPair
from tests.faults.pair import Pair

pytestmark = pytest.mark.long

DATA = "/srv/pg/15/main"
CONFIG = "/etc/pgsql/accounts"
LAYOUT = {"config_file": f"{CONFIG}/accounts.conf", "hba_file": "/etc/pgsql/hba.conf", "unit": "pg-accounts.service"}
UNIT = f"""
[Service]
Type=notify
User=postgres
ExecStart=/usr/lib/postgresql/15/bin/postgres -D {DATA} -c config_file={LAYOUT["config_file"]}
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
KillSignal=SIGINT
TimeoutSec=infinity

[Install]
WantedBy=multi-user.target
"""
MOVE = f"""
systemctl stop postgresql@15-main || true
install -d -o postgres -g postgres /srv/pg /srv/pg/15 /etc/pgsql
mv /var/lib/postgresql/15/main {DATA}
mv /etc/postgresql/15/main {CONFIG}
mv {CONFIG}/postgresql.conf {LAYOUT["config_file"]}
mv {CONFIG}/pg_hba.conf {LAYOUT["hba_file"]}
sed -i -e "s|^data_directory.*|data_directory = '{DATA}'|" -e "s|^hba_file.*|hba_file = '{LAYOUT["hba_file"]}'|" \
    -e "s|^ident_file.*|ident_file = '{CONFIG}/pg_ident.conf'|" {LAYOUT["config_file"]}
systemctl daemon-reload
systemctl enable --now pg-accounts.service
"""


@pytest.fixture(scope="module")
def pair(start_pair: StartPair) -> Pair:
    """Its target is a server of somebody's own making."""
    pair = start_pair("db", "layout")
    pair.must_run("target", ["tee", "/etc/systemd/system/pg-accounts.service"], UNIT)
    pair.must_run("target", ["bash", "-ec", MOVE])
    return pair


def test_a_cluster_that_is_not_where_debian_puts_it_is_refused_with_what_to_do(pair: Pair) -> None:
    refused = pair.verb("audit")
    assert not refused.ok
    assert "no /etc/postgresql/15/main/postgresql.conf" in refused.stdout, refused.stdout[-3000:]
    pair.write_inventory(
        postgresql_replication_data_directories={pair.host("target"): DATA},
        postgresql_replication_layouts={pair.host("target"): {**LAYOUT, "hba_file": f"{CONFIG}/pg_hba.conf"}},
    )
    refused = pair.verb("audit")
    assert not refused.ok
    assert f"hba_file is '{LAYOUT['hba_file']}'" in refused.stdout, refused.stdout[-3000:]
    assert f"{{hba_file: {LAYOUT['hba_file']}}}" in refused.stdout


def test_declared_it_moves_there_and_back(pair: Pair) -> None:
    source, target = pair.host("source"), pair.host("target")
    pair.write_inventory(
        postgresql_replication_data_directories={target: DATA},
        postgresql_replication_layouts={target: LAYOUT},
    )
    pair.must("audit", "prepare", "check")
    enabled = ["systemctl", "is-enabled", "pg-accounts.service"]
    assert pair.run("target", enabled).out.strip() == "disabled"
    assert pair.sql("target", "show config_file") == LAYOUT["config_file"]
    pair.must("capture", "freeze", "sync", "switch", "thaw", "verify")
    assert pair.sql("target", "show bascule.side") == target
    assert pair.run("target", enabled).out.strip() == "enabled"
    assert "changed=0" in pair.must("switch", "thaw").stdout
    pair.must("sync", "freeze", "sync", "switch", "thaw", "verify", direction="back")
    assert pair.sql("source", "show bascule.side") == source
    assert pair.run("target", enabled).out.strip() == "disabled"
    assert pair.sql("target", "select pg_is_in_recovery()") == "t"
