"""Start a playbook with ansible-runner and wait for its end, in a session of its own: `bascule run` starts this.

ansible-runner writes the command line and the whole environment of what it starts into its artifacts, and has
`ansible-playbook` check no host keys. So what it starts is `begin`, with an environment that has nothing in it, and the
arguments and the real environment go there by standard input.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from ansible_runner.interface import init_command_config

from ..run.io.command import RUNNER, Command


def main(argv: Sequence[str]) -> int:
    """Start the playbook of this command's folder; return its exit status."""
    command = Command(Path(argv[0]))
    # A lost terminal ends nothing, and Ctrl-C is for the playbook alone: what is caught here is not ignored there.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    os.umask(0o077)
    with command.output.open("ab") as output:
        runner = init_command_config(
            sys.executable,
            ["-m", f"{__package__}.begin", str(command.folder)],
            private_data_dir=str(command.folder),
            ident=RUNNER,
            host_cwd=os.getcwd(),
            runner_mode="subprocess",
            output_fd=output,
            error_fd=output,
            fact_cache_type="memory",
            suppress_env_files=True,
        )
        runner.run()
    return int(runner.rc)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
