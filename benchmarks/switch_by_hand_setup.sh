#!/bin/bash
# The cluster that switch_by_hand.sh moves, on a host of the lab's kind, beside the one that Bascule moves: the same
# settings, the same rows, a pooler set up the same way. Run on each host in turn: cluster on both, then primary on the
# one and standby on the other. SUBNET and SOURCE say where everybody is.
set -euo pipefail
cd /
as() { runuser -u postgres -- "$@"; }
home=/var/lib/postgresql
pass=$home/hand.pass

cluster() {
    pg_createcluster 15 hand --port 5433 --locale C.UTF-8 -- --data-checksums >/dev/null
    cp /etc/postgresql/15/main/conf.d/10-lab.conf /etc/postgresql/15/hand/conf.d/
    cat >/etc/postgresql/15/hand/conf.d/20-hand.conf <<<"wal_keep_size = '256MB'
wal_compression = on"
    cat >/etc/postgresql/15/hand/pg_hba.conf <<<"local all postgres peer
hostssl replication bascule_replication $SUBNET scram-sha-256
hostssl courses lab_data $SUBNET scram-sha-256"
    printf '*:5433:*:bascule_replication:%s\n' "$(cat /etc/lab/secrets/replication_password)" >$pass
    chown -R postgres: /etc/postgresql/15/hand $pass
    chmod 0600 $pass
}

primary() {
    pg_ctlcluster 15 hand start
    as pg_dumpall --globals-only | grep -v 'ROLE postgres' | as psql -Xq -p 5433 -v ON_ERROR_STOP=1
    as createdb -p 5433 courses
    as pg_dump courses | as psql -Xq -p 5433 -d courses -v ON_ERROR_STOP=1 >/dev/null
    install -d -o postgres /run/hand
    as psql -XAtq -c "select format('\"%s\" \"%s\"', rolname, rolpassword) from pg_authid where rolname = 'lab_data'" \
        >/etc/pgbouncer/hand.users
    cat >/etc/pgbouncer/hand.ini <<INI
[databases]
courses = host=$SOURCE port=5433
[pgbouncer]
listen_addr = *
listen_port = 6433
unix_socket_dir = /run/hand
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/hand.users
pool_mode = transaction
max_client_conn = 500
default_pool_size = 20
server_login_retry = 0.2
client_tls_sslmode = require
client_tls_protocols = tlsv1.3
client_tls_cert_file = /etc/postgresql/tls/server.crt
client_tls_key_file = /etc/postgresql/tls/server.key
server_tls_sslmode = verify-full
server_tls_protocols = tlsv1.3
server_tls_ca_file = /etc/postgresql/tls/ca.crt
INI
    chown postgres: /etc/pgbouncer/hand.*
    chmod 0600 /etc/pgbouncer/hand.users
    systemd-run --quiet --unit hand-pooler -p User=postgres -p Type=notify pgbouncer /etc/pgbouncer/hand.ini
}

standby() {
    rm -rf $home/15/hand
    as env PGPASSFILE=$pass pg_basebackup -D $home/15/hand -R -X stream -c fast -d \
        "host=$SOURCE port=5433 user=bascule_replication sslmode=verify-ca sslrootcert=/etc/postgresql/tls/ca.crt"
    pg_ctlcluster 15 hand start
}

"$1"
