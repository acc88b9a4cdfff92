#!/bin/bash
# Makes the standby the primary as an administrator does by hand, step by step over ssh, between two hosts with a
# PgBouncer on one of them: pause, stop, see that the standby has everything, promote, repoint, resume. No fence, no proof.
# Usage: switch_by_hand.sh POOLER FROM TO    (addresses; SSH holds the ssh command, CLUSTER and PORT name the cluster)
set -euo pipefail
pooler=$1 from=$2 to=$3
data=/var/lib/postgresql/15/$CLUSTER

on() { $SSH "root@$1" "cd /; $2"; }
sql() { on "$1" "runuser -u postgres -- psql -XAtq -p $PORT -c \"$2\""; }
console() { on "$pooler" "runuser -u postgres -- psql -XAtq -h /run/$CLUSTER -p 6433 -U pgbouncer pgbouncer -c '$1'"; }

[ "$(sql "$from" "select count(*) from pg_stat_replication where state = 'streaming'")" = 1 ]
sql "$from" checkpoint

console PAUSE
on "$from" "pg_ctlcluster 15 $CLUSTER stop -m fast"
lsn=$(on "$from" "/usr/lib/postgresql/15/bin/pg_controldata -D $data" | sed -n 's/^Latest checkpoint location: *//p')
until [ "$(sql "$to" "select pg_last_wal_replay_lsn() > '$lsn'")" = t ]; do :; done
[ "$(sql "$to" "select pg_promote()")" = t ]
on "$pooler" "sed -i 's/host=[0-9.]*/host=$to/' /etc/pgbouncer/$CLUSTER.ini"
console RELOAD
console RESUME

# The former primary follows from here on; nobody waits for it.
on "$from" "echo \"primary_conninfo = 'host=$to port=$PORT user=bascule_replication sslmode=verify-ca
    sslrootcert=/etc/postgresql/tls/ca.crt passfile=/var/lib/postgresql/$CLUSTER.pass'\" \
    | tr -d '\n' >/etc/postgresql/15/$CLUSTER/conf.d/follow.conf
    touch $data/standby.signal && chown postgres: $data/standby.signal && pg_ctlcluster 15 $CLUSTER start"
