"""The composition root: builds every room of a server, runs them in one task group, stops them in reverse."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import structlog
from aiohttp import web

from atoll.api import Api, ApiSettings, build_app
from atoll.api.leftovers import Leftovers
from atoll.config import Config, ListenAddress, ServerConfig, engine_settings, vmm_config
from atoll.engine import Engine, MachineSource, Sandbox
from atoll.engine.engine import log_event
from atoll.engine.host import host_machines
from atoll.model.errors import AtollError, HostError, InvalidSpec, SandboxNotFound
from atoll.model.events import Event
from atoll.model.lifecycle import StopReason
from atoll.store import Store
from atoll.vmm.ledger import reap
from atoll.vmm.making import Progress, no_progress

FIRST_TOKEN = "first"
# What is not an HTTP request yet counts too, so a flood of silent connections ends here and not at our descriptors.
MAX_OPEN_SOCKETS = 2048
# Under which owned things of VMs are recorded: a VM of the pool is nobody's sandbox yet.
_POOL = "vmm"

_log = structlog.get_logger("atoll.server")


@dataclass(frozen=True, slots=True)
class Machines:
    """Where VMs come from, and what runs them (`kvm`, `tcg`)."""

    source: MachineSource
    accelerator: str


MachineFactory = Callable[[Config, Store, Progress], AbstractAsyncContextManager[Machines]]


@dataclass(frozen=True, slots=True)
class Ready:
    """What a server says of itself once it takes connections. `token` only when it was made just now."""

    url: str
    token: str | None
    accelerator: str

    def write(self, path: Path) -> None:
        """One JSON object, all at once, for its owner only: it may hold a token."""
        staged = path.with_name(f".{path.name}.{os.getpid()}")
        staged.unlink(missing_ok=True)
        with open(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            body = {"url": self.url, "token": self.token, "ssh": None, "accelerator": self.accelerator}
            file.write(orjson.dumps(body) + b"\n")
        staged.replace(path)


async def serve(
    config: Config,
    *,
    on_ready: Callable[[Ready], None],
    machines: MachineFactory | None = None,
    progress: Progress = no_progress,
    stop: asyncio.Event | None = None,
    api_settings: ApiSettings | None = None,
) -> None:
    """Run a server until SIGTERM, SIGINT or `stop`; returns when every sandbox has ended and nothing is left."""
    stop = stop or asyncio.Event()
    state_dir = config.server.state_dir
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(stop))
        stack.enter_context(_alone(state_dir))
        store = await stack.enter_async_context(Store(config.server.records_file))
        await _reconcile(store)
        found = await stack.enter_async_context((machines or vms_of_this_host)(config, store, progress))
        records = await stack.enter_async_context(StoredRecords(store))
        settings = engine_settings(config)
        engine = await stack.enter_async_context(Engine(settings, found.source, records, records.emit))
        leftovers = await stack.enter_async_context(Leftovers())
        api = Api(engine, store, leftovers, api_settings or ApiSettings(spool_dir=state_dir))
        address = await stack.enter_async_context(_listening(api, config.server))
        token = await _first_token(store)
        scheme = "https" if config.server.tls_cert is not None else "http"
        on_ready(Ready(f"{scheme}://{address}", token, found.accelerator))
        _log.info("server.ready", listen=str(address), accelerator=found.accelerator)
        await stop.wait()
        _log.info("server.stopping", sandboxes=len(engine.live))


def run_server(config: Config, ready_file: Path | None, *, progress: Progress = no_progress) -> None:
    """`serve` on an event loop of its own, as the command line needs it."""
    import uvloop

    configure_log()

    def on_ready(ready: Ready) -> None:
        if ready_file is not None:
            ready.write(ready_file)
        print(f"atoll listens on {ready.url} ({ready.accelerator})", flush=True)  # noqa: T201
        if ready.token is not None:
            print(f"The first token, shown only now: {ready.token}", flush=True)  # noqa: T201

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(config, on_ready=on_ready, progress=progress))


def configure_log() -> None:
    """Events as lines on stderr. Tracebacks without local variables: a config or a token could be among them."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, sort_keys=False
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


# -- what a server stands on


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """One server per state directory: a second one would take the first one's sandboxes for left behind."""
    try:
        state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        fd = os.open(state_dir / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"the state directory {state_dir} cannot be used: {error.strerror}") from None
    try:
        _lock(fd, state_dir)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, state_dir: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HostError(f"another server uses {state_dir}; end it, or give this one its own --state") from None


async def _reconcile(store: Store) -> None:
    """After a crash: end what the records know of and nobody owns any more, and say what that was."""
    for owned in await store.owned.list_all():
        if await asyncio.to_thread(reap, owned.kind, owned.ident):
            _log.warning("reconcile.reaped", kind=owned.kind, ident=owned.ident)
        await store.owned.remove(owned.sandbox_id, owned.kind, owned.ident)
    for sandbox_id in await store.sandboxes.stop_all(StopReason.RECONCILED, _now_ms()):
        _log.warning("reconcile.stopped", sandbox=sandbox_id)


async def _first_token(store: Store) -> str | None:
    """A token for a server that never had one; its text exists only in what this returns."""
    return None if await store.tokens.list() else await store.tokens.create(FIRST_TOKEN)


@asynccontextmanager
async def vms_of_this_host(config: Config, store: Store, progress: Progress) -> AsyncIterator[Machines]:
    """QEMU, with a pool of the default size."""
    vmm = vmm_config(config, pool_size=config.pool.size)
    async with host_machines(vmm, ledger=_StoreLedger(store), progress=progress) as launcher:
        yield Machines(launcher, launcher.accelerator.accel.value)


class _StoreLedger:
    """What VMs own on this host, in the store."""

    def __init__(self, store: Store) -> None:
        self._owned = store.owned

    async def add(self, kind: str, ident: str) -> None:
        await self._owned.add(_POOL, kind, ident)

    async def remove(self, kind: str, ident: str) -> None:
        await self._owned.remove(_POOL, kind, ident)


class StoredRecords:
    """The engine's `Records`, in the store."""

    def __init__(self, store: Store) -> None:
        self._sandboxes = store.sandboxes
        self._digests: dict[str, str] = {}
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> StoredRecords:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._group.__aexit__(None, None, None)

    def emit(self, event: Event) -> None:
        """Log it, and note when a sandbox has come to run."""
        log_event(event)
        if event.kind == "sandbox.ready" and event.sandbox_id is not None:
            accelerator = str(event.fields.get("accelerator"))
            self._group.create_task(self._note_running(event.sandbox_id, accelerator))

    async def _note_running(self, sandbox_id: str, accelerator: str) -> None:
        digest = self._digests.get(sandbox_id, "")
        try:
            await self._sandboxes.put_running(sandbox_id, accelerator=accelerator, image_digest=digest)
        except SandboxNotFound:
            pass  # It has ended by now.
        except AtollError as error:
            _log.error("record.failed", sandbox=sandbox_id, reason=str(error))

    async def sandbox_created(self, sandbox: Sandbox, image_digest: str) -> None:
        self._digests[sandbox.id] = image_digest
        await self._sandboxes.put_started(sandbox.id, sandbox.spec, sandbox.created_at_ms)

    async def sandbox_stopped(self, sandbox: Sandbox) -> None:
        self._digests.pop(sandbox.id, None)
        reason = sandbox.stop_reason or StopReason.SERVER_STOPPED
        await self._sandboxes.put_stopped(sandbox.id, reason, max(_now_ms(), sandbox.created_at_ms))

    async def stop_reason_of(self, sandbox_id: str) -> str | None:
        try:
            record = await self._sandboxes.get(sandbox_id)
        except SandboxNotFound:
            return None
        return record.stop_reason.value if record.stop_reason is not None else None


# -- the listening socket


@asynccontextmanager
async def _listening(api: Api, config: ServerConfig) -> AsyncIterator[ListenAddress]:
    """Takes connections; at the end takes no more, has every client answered, and only then closes their sockets."""
    runner = web.AppRunner(build_app(api), handle_signals=False, access_log=None, shutdown_timeout=5)
    await runner.setup()
    http = runner.server
    assert http is not None

    def accept() -> asyncio.BaseProtocol:
        return http() if len(http.connections) < MAX_OPEN_SOCKETS else _Refusal()

    tls = _tls(config)
    sock = _bind(config.listen)
    listener = await asyncio.get_running_loop().create_server(accept, sock=sock, backlog=512, ssl=tls)
    try:
        yield ListenAddress(*sock.getsockname()[:2])
    finally:
        listener.close()
        await api.end_all()
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _bind(address: ListenAddress) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server(address, family=family, backlog=512)
    except OSError as error:
        raise HostError(f"cannot listen on {address}: {error.strerror or error}") from None


def _tls(config: ServerConfig) -> ssl.SSLContext | None:
    if config.tls_cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # The upgrade of both clients needs HTTP/1.1 (WIRE G33).
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidSpec("server.tls_cert", f"the certificate or its key cannot be used: {error}") from None
    return context


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
