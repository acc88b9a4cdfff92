#!/bin/bash
# A PostgreSQL host as Debian sets it up, with TLS 1.3 and SCRAM.
# LAB_DB_MAJOR: the major version, which is the one of the host's Debian.
# LAB_DB_STATE=primary: the cluster runs and holds the seeded database; empty: the package's fresh cluster, stopped.
# LAB_DB_CLIENTS: networks from which the application may log in (blank-separated).
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../common.sh
. "$HERE/../common.sh"

MAJOR=${LAB_DB_MAJOR:-15}
CONF=/etc/postgresql/$MAJOR/main
STATE=${LAB_DB_STATE:-primary}

install -d -m 0750 -o postgres -g postgres /etc/postgresql/tls
put 0644 postgres:postgres /etc/postgresql/tls/ca.crt </etc/lab/tls/ca.crt || true
put 0644 postgres:postgres /etc/postgresql/tls/server.crt </etc/lab/tls/host.crt || true
put 0600 postgres:postgres /etc/postgresql/tls/server.key </etc/lab/tls/host.key || true

if once cluster; then
    # The image carries one cluster for all its copies: make our own, with a system identifier of its own.
    pg_dropcluster --stop "$MAJOR" main 2>/dev/null || true
    pg_createcluster "$MAJOR" main --locale C.UTF-8 -- --data-checksums >/dev/null
    put 0644 postgres:postgres "$CONF/conf.d/10-lab.conf" <<'PGCONF' || true
listen_addresses = '*'
ssl = on
ssl_min_protocol_version = 'TLSv1.3'
ssl_ca_file = '/etc/postgresql/tls/ca.crt'
ssl_cert_file = '/etc/postgresql/tls/server.crt'
ssl_key_file = '/etc/postgresql/tls/server.key'
password_encryption = 'scram-sha-256'
timezone = 'Etc/UTC'
log_timezone = 'Etc/UTC'
shared_buffers = '96MB'
max_connections = 100
PGCONF
    {
        echo "# Local administration by the postgres system user; everyone else over TLS with SCRAM."
        echo "local   all      postgres                          peer"
        echo "local   all      all                               scram-sha-256"
        for network in ${LAB_DB_CLIENTS:-}; do
            echo "hostssl courses  courses,lab_probe  $network  scram-sha-256"
        done
    } | put 0640 postgres:postgres "$CONF/pg_hba.conf" || true
    if [ "$STATE" = primary ]; then
        echo auto >"$CONF/start.conf"
    else
        echo manual >"$CONF/start.conf"
    fi
    done_once cluster
fi
systemctl enable --quiet postgresql.service

if [ "$STATE" = primary ] && once database; then
    pg_ctlcluster "$MAJOR" main status >/dev/null 2>&1 || systemctl start "postgresql@$MAJOR-main.service"
    sudo -u postgres psql -qX -v ON_ERROR_STOP=1 -d postgres -c 'drop database if exists courses'
    # The passwords go in by standard input: an argument list is readable by everyone.
    {
        for role in courses:app_password lab_probe:probe_password lab_data:data_password; do
            printf "select 'create role %s login' where not exists (select from pg_roles where rolname='%s') \\\\gexec\n" \
                "${role%%:*}" "${role%%:*}"
            printf "alter role %s password '%s';\n" "${role%%:*}" "$(secret "${role##*:}")"
        done
        echo "create database courses owner courses;"
        echo "revoke connect on database courses from public;"
        echo "grant connect on database courses to courses, lab_probe, lab_data;"
    } | sudo -u postgres psql -qX -v ON_ERROR_STOP=1 -d postgres
    SEED="$HERE/../../seed/db"
    for file in schema.sql data.sql odd.sql; do
        sudo -u postgres psql -qX -v ON_ERROR_STOP=1 -v "scale=${LAB_SCALE:-1}" -v "seed=${LAB_SEED:-1}" -d courses \
            <"$SEED/$file" >/dev/null
    done
    sudo -u postgres psql -qX -d courses -c 'vacuum analyze' -c checkpoint
    done_once database
    say "seeded the database courses"
elif [ "$STATE" = primary ]; then
    # A re-run of the set-up never starts a cluster that the migration has closed: systemd and start.conf decide.
    systemctl start postgresql.service
fi
