"""The port of a closed database server: a table of nftables of its own, and the unit that loads it. Pure texts."""

from __future__ import annotations


def table(kind: str, component: str) -> str:
    """Return the name of the nftables table of a component of this kind."""
    return f"bascule_{kind}_" + "".join(c if c.isalnum() else "_" for c in component)


def rules(name: str, port: int, peer: str) -> str:
    """Return the rules by which the port refuses everybody, or everybody but `peer`, an address; loaded at once.

    Args:
        name: of the table.
        port: TCP port of the server.
        peer: the address of the other side's server; empty lets in nobody.
    """
    family = "ip6" if ":" in peer else "ip"
    but = f"{family} saddr != {peer} " if peer else ""
    # A rule for one family lets the other one pass.
    other = (
        f"\n        meta nfproto {'ipv4' if family == 'ip6' else 'ipv6'} tcp dport {port} reject with tcp reset"
        if peer
        else ""
    )
    return f"""table inet {name}
delete table inet {name}
table inet {name} {{
    chain input {{
        type filter hook input priority -300; policy accept;
        {but}tcp dport {port} reject with tcp reset{other}
    }}
}}
"""


def unit(rules_file: str, service: str) -> str:
    """Return the unit that loads the rules before the server starts, and again whenever nftables has been flushed.

    Args:
        rules_file: where the rules stand while the port is shut.
        service: the server's unit.
    """
    return f"""[Unit]
Description=Bascule: keep the port of a closed database server shut
After=nftables.service
Before={service}
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
ConditionPathExists={rules_file}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/nft -f {rules_file}
ExecReload=/usr/sbin/nft -f {rules_file}

[Install]
WantedBy=multi-user.target nftables.service {service}
"""
