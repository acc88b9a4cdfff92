# nginx as README of role web_entrance says. GUESTS: the first three bytes of the guests' addresses; OTHER: the other
# entrance; MODE: the files by which nginx knows its first mode (blank: the maintenance page).
folder=/etc/nginx/bascule
install -d "$folder"
sed -n '/^# For Bascule (role web_entrance)/,/^```/p' /opt/lab/web_entrance.md | sed '/^```/d' >"$folder/entrance.conf"
printf '"%s" 1;\n' "$(cat /etc/lab/secrets/smoke_token)" | install -m 0600 /dev/stdin "$folder/smoke_token"
[ -z "$MODE" ] || touch "$folder/$MODE"
cat >/etc/nginx/conf.d/bascule.conf <<'CONF'
map $http_x_bascule_smoke $bascule_smoke { default 0; include /etc/nginx/bascule/smoke_token; }
server { listen 127.0.0.1:8089; location / { stub_status; } }
CONF
rm -f /etc/nginx/sites-enabled/default
cat >/etc/nginx/sites-enabled/small <<CONF
server {
    listen 443 ssl;
    server_name www.small.example;
    ssl_protocols TLSv1.3;
    ssl_certificate /etc/lab/tls/host.crt;
    ssl_certificate_key /etc/lab/tls/host.key;
    include $folder/entrance.conf;
    location /wiki/ { proxy_pass http://$GUESTS.101:8000/cgi-bin/; proxy_set_header X-Bascule-Smoke ""; }
    location /shop/ { proxy_pass http://$GUESTS.102:8000/cgi-bin/; proxy_set_header X-Bascule-Smoke ""; }
    location @bascule_maintenance {
        default_type text/html;
        add_header Retry-After 5 always;
        return 503 "<h1>Back soon</h1>";
    }
    location @bascule_forward {
        proxy_pass https://$OTHER;
        proxy_set_header Host \$host;
        proxy_set_header X-Bascule-Forwarded 1;
        proxy_ssl_verify on;
        proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
        proxy_ssl_server_name on;
        proxy_ssl_name www.small.example;
        proxy_ssl_protocols TLSv1.3;
    }
}
server {
    listen 80;
    server_name www.small.example;
    return 301 https://\$host\$request_uri;
}
CONF
systemctl enable --now nginx.service
