#!/bin/bash
# A PgBouncer as its owner has set it up; $1: the address of the server it points to.
SRC=$1
cat >/etc/pgbouncer/pgbouncer.ini <<X
[databases]
%include /etc/pgbouncer/databases.ini
* = host=$SRC port=5432
[pgbouncer]
listen_addr = *
listen_port = 6433
unix_socket_dir = /var/run/postgresql
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/userlist.txt
admin_users = postgres
pool_mode = transaction
server_tls_sslmode = require
ignore_startup_parameters = extra_float_digits
X
cat >/etc/pgbouncer/databases.ini <<X
courses = host=$SRC port=5432 pool_size=40 auth_user=pgb
courses_batch = host=$SRC dbname=courses pool_size=3 pool_mode=session
other = host=$SRC
X
printf '"pgb" "x"\n' >/etc/pgbouncer/userlist.txt
chown postgres: /etc/pgbouncer/*
chmod 640 /etc/pgbouncer/*
systemctl restart pgbouncer
