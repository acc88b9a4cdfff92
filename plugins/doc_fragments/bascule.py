"""Documentation that several plugins have in common: `extends_documentation_fragment: [bascule.side]` and the like."""

from __future__ import annotations


class ModuleDocFragment:
    """The fragments; the specs of `component` and `side` are in bascule.plugin.module."""

    COMPONENT = r"""
options:
  component:
    description: Name of the component.
    type: str
    required: true
author:
  - The Bascule authors
"""

    SIDE = r"""
options:
  component:
    description: Name of the component.
    type: str
    required: true
  side:
    description: Inventory name of the host on which the module runs.
    type: str
    required: true
author:
  - The Bascule authors
"""

    TREE = r"""
options:
  sentinel:
    description: Name of the file at the root of the tree that shows that the right tree is there.
    type: str
    required: true
  account:
    description: The account by which each side lets the other in; another one than root does its one command by sudo.
    type: str
    default: root
  part_allowed:
    description: Take a tree that is a part of a larger file system, and close it by a mount of its own.
    type: bool
    default: false
"""

    SPEC = r"""
options:
  spec:
    description: The side, as the role describes it.
    type: dict
    required: true
author:
  - The Bascule authors
"""

    ENTRANCE = r"""
options:
  entrance:
    description: How the entrance is driven at this side, and how the side is reached from outside.
    type: dict
    required: true
    suboptions:
      kind:
        description: What serves at the entrance.
        type: str
        choices: [haproxy, nginx, manual]
        default: haproxy
      map_file:
        description: The map file from which HAProxy reads the mode; needed for V(haproxy).
        type: path
      socket:
        description: The runtime socket of HAProxy, with level admin; needed for V(haproxy).
        type: path
      key:
        description: The key of the mode in the map.
        type: str
        default: mode
      backend:
        description: The backend of the service itself, which is drained; needed for V(haproxy).
        type: str
        default: ""
      folder:
        description: The folder of the two files by which nginx knows the mode; needed for V(nginx).
        type: path
      status:
        description: The address of nginx's stub_status, as this host reaches it; needed for V(nginx).
        type: str
      address:
        description: The address at which users reach this side.
        type: str
        required: true
      port:
        description: The port of the entrance.
        type: int
        default: 443
      name:
        description: The name that users ask for and that the certificate is for.
        type: str
        required: true
      ca_file:
        description: The certificates that the entrance is verified with.
        type: path
        required: true
      scheme:
        description: Whether users come by V(https), or by V(http), which verifies nothing.
        type: str
        choices: [http, https]
        default: https
      forwarded_header:
        description: The header by which an entrance knows a request that another entrance has forwarded.
        type: str
        required: true
      other_address:
        description: The address at which users reach the other side; needed for V(manual).
        type: str
      forward:
        description: Whether a person is asked to make a closed balancer forward; for V(manual).
        type: bool
        default: false
      manual_wait:
        description: Seconds that a person is waited for; for V(manual).
        type: float
        default: 900
"""

    MYSQL = r"""
options:
  mysql:
    description: How the MariaDB server is reached at this side, and the address of the other one.
    type: dict
    required: true
    suboptions:
      service:
        description: Its unit, without C(.service).
        type: str
        default: mariadb
      socket:
        description: Its socket, by which root comes in.
        type: path
        default: /run/mysqld/mysqld.sock
      port:
        description: Its TCP port, the same at both sides.
        type: int
        default: 3306
      peer:
        description: The address of the other side's server.
        type: str
        required: true
"""

    SQLITE = r"""
options:
  sqlite:
    description: Which databases, and the units of the application that has them open.
    type: dict
    required: true
    suboptions:
      databases:
        description: The databases' paths, the same at both sides.
        type: list
        elements: path
        required: true
      units:
        description: The units that are stopped before the databases close, and started when they are open.
        type: list
        elements: str
        default: []
"""

    VPN = r"""
options:
  vpn:
    description: How the VPN server is driven at this side.
    type: dict
    required: true
    suboptions:
      kind:
        description: What serves there.
        type: str
        choices: [wireguard]
        default: wireguard
      name:
        description: The interface, which C(wg-quick@NAME) runs by C(/etc/wireguard/NAME.conf).
        type: str
        required: true
      port:
        description: The UDP port of the server.
        type: int
        required: true
"""

    FIREWALL = r"""
options:
  rules:
    description:
      - The rules, in their order. Each has V(name), V(verdict) (accept, drop or reject), and may have V(protocol)
        (tcp or udp), V(port) (none is all), V(from) (networks), V(at) (one side alone) and V(when) (always, active or
        passive).
    type: list
    elements: dict
    required: true
author:
  - The Bascule authors
"""
