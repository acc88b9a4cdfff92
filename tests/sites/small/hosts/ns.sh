# PowerDNS with Debian's settings, SQLite, and updates signed with one key.
database=/var/lib/powerdns/pdns.sqlite3
sqlite3 "$database" </usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql
chown pdns:pdns "$database"
cat >/etc/powerdns/pdns.d/small.conf <<CONF
launch+=gsqlite3
gsqlite3-database=$database
dnsupdate=yes
allow-dnsupdate-from=198.18.40.1/32
CONF
cat >/tmp/zone <<'ZONE'
$ORIGIN small.example.
$TTL 30
@ IN SOA ns.bdx.small.example. hostmaster.small.example. 1 3600 600 86400 30
@ IN NS ns.bdx.small.example.
@ IN NS ns.pau.small.example.
ns.bdx IN A 198.18.40.53
ns.pau IN A 198.18.41.53
www IN A 198.18.40.20
mail IN A 198.18.40.25
ZONE
pdnsutil load-zone small.example /tmp/zone
pdnsutil import-tsig-key bascule hmac-sha256 "$(cat /etc/lab/secrets/tsig.secret)" >/dev/null
pdnsutil set-meta small.example TSIG-ALLOW-DNSUPDATE bascule
chown pdns:pdns "$database"
systemctl enable --now pdns.service
