"""Where ssh keeps its control sockets on the controller: who holds one is root on the machine behind it."""

from __future__ import annotations

from ansible import constants
from ansible.plugins.loader import connection_loader

from ..errors import StoreError
from ..system.io import storage

# A socket's path has 107 characters at most; ssh adds a name of 40 and, while it makes it, 17 more.
_LONGEST = 107 - 17 - 40 - len("/j-")


def control_directory() -> str:
    """Return the directory for control sockets as Ansible is configured; it is this user's own."""
    # Loading the plugin is what makes its options known.
    connection_loader.get("ssh", class_only=True)
    directory = constants.config.get_config_value("control_path_dir", plugin_type="connection", plugin_name="ssh")
    path = str(storage.expand_user(str(directory)))
    storage.private_directory(path)
    if len(path) > _LONGEST:
        raise StoreError(
            expected=f"a directory for ssh's control sockets with at most {_LONGEST} characters",
            found=path,
            state="nothing was connected",
            next_command="export ANSIBLE_SSH_CONTROL_PATH_DIR=DIRECTORY, a short one that is yours alone",
        )
    return path
