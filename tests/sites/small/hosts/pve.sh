# A node with local and local-lvm, and a token with the rights that docs/first-migration.md gives one. GUESTS: name=number
# of those that live here; HEAD: the first three bytes of their addresses.
export STANDIN_THIN=1
/opt/lab/pve/setup-node.sh /etc/lab/secrets/pve_token
cp /opt/lab/privileges.json /etc/pve/priv/standin-privileges.json
for guest in $GUESTS; do
    name=${guest%=*} number=${guest#*=}
    cp --sparse=always /opt/lab/small.raw "/var/lib/vz/$name.raw"
    /opt/lab/pve/seed-guest.sh "$number" "/var/lib/vz/$name.raw" local-lvm <<CONFIG
agent: 1
cores: 1
ipconfig0: ip=$HEAD.$number/23,gw=198.18.40.1
memory: 128
name: $name
nameserver: $HEAD.53
net0: virtio=BC:24:11:0A:28:$(printf %02X "$number"),bridge=vmbr0
onboot: 1
ostype: l26
searchdomain: bdx.small.example
CONFIG
done
