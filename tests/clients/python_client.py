"""What the tests of the official Python client share."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from deno_sandbox import AsyncDenoDeploy

# Of the client's own making: sockets that it drops, futures that it never awaits.
CLIENT_LEAKS = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


async def close(sdk: AsyncDenoDeploy) -> None:
    """The client never closes its connections, and whoever is next would get the warnings."""
    await sdk.sandbox._client.client.aclose()
    gc.collect()


async def run(sandbox: Any, command: str, *args: str, **options: Any) -> tuple[bytes, bytes, dict[str, Any]]:
    process = await sandbox.spawn(command, args=list(args), stdout="piped", stderr="piped", **options)
    out, err = await asyncio.gather(process.stdout.read(), process.stderr.read())
    return out, err, await process.wait()


async def sh(sandbox: Any, script: str, **options: Any) -> str:
    out, err, status = await run(sandbox, "sh", "-c", script, **options)
    assert status["success"], err
    return out.decode()


async def many(source: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(source), size):
        yield source[at : at + size]
