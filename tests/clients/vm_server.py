"""A real server with real VMs: `python -m tests.clients.vm_server STATE READY_FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

from atoll.config import Config, LimitsConfig, ListenAddress, PoolConfig, ServerConfig
from atoll.server import run_server

MAX_SANDBOXES = 8


def main() -> None:
    state, ready_file = map(Path, sys.argv[1:])
    config = Config(
        server=ServerConfig(listen=ListenAddress("127.0.0.1", 0), state_dir=state),
        limits=LimitsConfig(max_sandboxes=MAX_SANDBOXES),
        pool=PoolConfig(size=2),
    )
    run_server(config, ready_file)


if __name__ == "__main__":
    main()
