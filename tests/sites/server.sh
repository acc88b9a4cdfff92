#!/bin/bash
# Who may come in to a machine of this site. Passwords come by standard input: "USER:PASSWORD".
# $1: what the machine is, "server" or "bastion". $2: the bastion's address. $3: the address of the server at the other
# site. $4, $5: addresses of the two servers, for /etc/hosts.
set -euo pipefail
umask 022
kind=$1 bastion=$2 peer=$3
user=marie

printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n%s srv-nantes\n%s srv-rennes\n' "$4" "$5" >/etc/hosts

id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$user"
install -d -m 0700 -o "$user" -g "$user" "/home/$user/.ssh"
install -m 0600 -o "$user" -g "$user" /etc/lab/ssh/authorized_keys "/home/$user/.ssh/authorized_keys"
install -m 0600 /etc/lab/ssh/ssh_host_ed25519_key /etc/ssh/
install -m 0644 /etc/lab/ssh/ssh_host_ed25519_key.pub /etc/ssh/

{
    echo "PermitRootLogin no"
    echo "PasswordAuthentication no"
    echo "KbdInteractiveAuthentication no"
    if [ "$kind" = server ]; then
        echo "AllowUsers $user@$bastion root@$peer"
        # File servers talk to each other with a key of one forced command.
        echo "Match User root Address $peer"
        echo "    PermitRootLogin forced-commands-only"
    else
        echo "AllowUsers $user"
    fi
} >/etc/ssh/sshd_config.d/site.conf
sshd -t

if [ "$kind" = server ]; then
    # Debian's own rule: who is in the group sudo may do all, with a password.
    usermod --append --groups sudo "$user"
    chpasswd
fi
systemctl enable --quiet ssh.service
systemctl restart ssh.service
