# An account with sudo, and the company's authority among those that the machine trusts.
useradd --create-home --shell /bin/bash bascule
echo 'bascule ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/bascule
install -d -m 0700 -o bascule -g bascule ~bascule/.ssh
install -m 0600 -o bascule -g bascule /etc/lab/ssh/authorized_keys ~bascule/.ssh/authorized_keys
# What update-ca-certificates comes to; that looks at each of some hundred others first.
cat /etc/lab/tls/ca.crt >>/etc/ssl/certs/ca-certificates.crt
