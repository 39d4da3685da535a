"""A real server whose VMs are agents on this host: `python -m tests.clients.agent_server STATE HOME READY_FILE`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import atoll.engine.environment as environment
import atoll.engine.sandbox as sandbox
from atoll.config import Config, LimitsConfig, ListenAddress, ServerConfig
from atoll.server import Machines, configure_log, serve
from atoll.store import Store
from atoll.vmm.making import Progress
from tests.agents import AgentMachines
from tests.deno_binary import deno_path

MAX_SANDBOXES = 8


@asynccontextmanager
async def agents(config: Config, store: Store, progress: Progress) -> AsyncIterator[Machines]:
    yield Machines(AgentMachines(Path(sys.argv[2])), "none")


def main() -> None:
    state, home, ready_file = map(Path, sys.argv[1:])
    # What a guest has at fixed places is elsewhere on this host.
    sandbox.HOME = str(home)
    environment.BASE = {**environment.BASE, "HOME": str(home), "PATH": deno_path(), "TMPDIR": str(home)}
    config = Config(
        server=ServerConfig(listen=ListenAddress("127.0.0.1", 0), state_dir=state),
        limits=LimitsConfig(max_sandboxes=MAX_SANDBOXES),
    )
    os.chdir(home)
    configure_log()
    asyncio.run(serve(config, machines=agents, on_ready=lambda ready: ready.write(ready_file)))


if __name__ == "__main__":
    main()
