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
    description: How HAProxy is driven at this side, and how the side is reached from outside.
    type: dict
    required: true
    suboptions:
      map_file:
        description: The map file from which HAProxy reads the mode.
        type: path
        required: true
      socket:
        description: The runtime socket of HAProxy, with level admin.
        type: path
        required: true
      key:
        description: The key of the mode in the map.
        type: str
        default: mode
      backend:
        description: The backend of the service itself, which is drained.
        type: str
        required: true
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
      forwarded_header:
        description: The header by which HAProxy knows a request that another entrance has forwarded.
        type: str
        required: true
"""
