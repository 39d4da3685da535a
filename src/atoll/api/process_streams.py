"""Joins a process's pipes with streams of its client, and holds its output until the client is ready (WIRE 4.4)."""

from __future__ import annotations

import asyncio
from typing import Any

from atoll.api.inbound import Inbound
from atoll.api.outbound import Outbound
from atoll.api.peer import Peer
from atoll.api.spool import Spool
from atoll.engine import Process
from atoll.model.errors import AtollError
from atoll.vmm.link import ByteSink, ByteSource


def join(peer: Peer, process: Process, stdin: Inbound | None) -> dict[str, Any]:
    """Start moving bytes; what `spawn` answers."""
    gate = peer.gates[process.pid] = asyncio.Event()
    if process.stdin is not None and stdin is not None:
        sink = process.stdin
        peer.start_task(_feed(sink, stdin), sink.close)
    output = {}
    for name, source in (("stdoutStreamId", process.stdout), ("stderrStreamId", process.stderr)):
        output[name] = None if source is None else _Output(peer, process, source, gate).begin()
    return {"pid": process.pid, **output}


async def _feed(sink: ByteSink, stdin: Inbound) -> None:
    try:
        async for chunk in stdin:
            await sink.write(chunk)
    except AtollError:
        # The process closed its input or the sandbox ended; its status says more than this could.
        pass
    finally:
        sink.close()
        stdin.discard()


class _Output:
    """One of a process's output streams."""

    def __init__(self, peer: Peer, process: Process, source: ByteSource, gate: asyncio.Event) -> None:
        self._peer = peer
        self._source = source
        self._gate = gate
        self._process = process
        self._stream: Outbound = peer.outbound.open()
        self._spool = Spool(peer.space)
        self._over = b""
        # While a client still sends input, output must flow, or a process like `cat` stops reading.
        self._fills_while_held = process.stdin is not None

    def begin(self) -> int:
        task = self._peer.start_task(self._run(), self._on_cut)
        self._stream.on_cancel = task.cancel
        return self._stream.id

    def _on_cut(self) -> None:
        self._finish()
        if self._stream.cancelled:
            self._source.cancel()
        else:
            self._peer.leftovers.drain(self._source)

    async def _run(self) -> None:
        await self._hold()
        try:
            await self._stream.start()
            while chunk := self._spool.get():
                await self._stream.write(chunk)
            await self._stream.write(self._over)
            await self._send_rest()
        finally:
            self._finish()

    async def _send_rest(self) -> None:
        try:
            while chunk := await self._source.read():
                await self._stream.write(chunk)
        except AtollError:
            # The VM is gone: the output of a killed process ends.
            pass
        await self._stream.end()

    async def _hold(self) -> None:
        async with asyncio.TaskGroup() as group:
            filling = group.create_task(self._fill()) if self._fills_while_held else None
            try:
                async with asyncio.timeout(self._peer.quirks.gate_fallback_s):
                    await self._gate.wait()
            except TimeoutError:
                pass
            if filling is not None:
                filling.cancel()

    async def _fill(self) -> None:
        try:
            while chunk := await self._source.read():
                if not self._spool.put(chunk):
                    # No more is read before the gate opens: now the process waits.
                    self._over = chunk
                    return
        except AtollError:
            pass  # Met again, and told, when what was kept has been sent.

    def _finish(self) -> None:
        self._spool.close()
        self._peer.outbound.close(self._stream)
        # The pid may be another process's by now.
        if self._peer.gates.get(self._process.pid) is self._gate and self._gate.is_set():
            del self._peer.gates[self._process.pid]
