"""Answers the host's requests: a table from method to function, and what they share."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from atoll.guest import contents, listing, paths, resume, sockets
from atoll.guest.channel import Channel
from atoll.guest.handles import Handles
from atoll.guest.identity import Busy, Crew, Identity
from atoll.guest.listing import os_error_name, os_error_text
from atoll.guest.processes import Processes
from atoll.guest.pumps import Inflow, Outflow
from atoll.guest.reactor import Reactor
from atoll.guest.transfers import Incoming, Outgoing
from atoll.wire import GENERATION, Credit, Data, End, Request, Reset, WireEvent

Params = dict[str, Any]
Flow = Inflow | Outflow | Incoming | Outgoing

# The first passes through any code are the slow ones in emulation: 70 ms, 15, 9, then 5 for the barrier (bench/create).
_REHEARSALS = 3
_WARM_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


class Agent:
    """One agent on one descriptor. `root` is the workload's, None when there is none (tests on a host)."""

    def __init__(self, fd: int, identities: dict[str, Identity]) -> None:
        self._reactor = Reactor()
        self._flows: dict[int, Any] = {}
        # Streams that the host gave up before they were opened here.
        self._unwanted: set[int] = set()
        self._channel = Channel(fd, self._reactor, self._on_event, self._reactor.stop)
        self._crews = {name: Crew(identity) for name, identity in identities.items()}
        self._root = identities["app"].root
        self._processes = Processes(self._channel, self._reactor, self._crews, self._flows)
        self._handles = Handles()
        self._on_loop: dict[str, Callable[[Params], Any]] = {
            "hello": self._hello,
            "ping": lambda params: None,
            "resume": self._resume,
            "clock": lambda params: time.time_ns(),
            "adjust_clock": self._adjust_clock,
            "quiesce": self._quiesce,
            "signal": lambda params: self._processes.send_signal(params["pid"], params["number"]),
            "resize": lambda params: self._processes.resize(params["pid"], params["rows"], params["cols"]),
            "umask": self._umask,
            "listeners": lambda params: sockets.listening_ports(params["pid"]),
        }
        self._deferred: dict[str, Callable[[Request], None]] = {
            "spawn": self._spawn,
            "warm": self._warm,
            "fetch": self._fetch,
            "connect": self._connect,
            "read_file": self._read_file,
            "write_file": self._write_file,
            "read_dir": lambda request: self._list(request, lambda params: listing.read_dir(params)),
            "walk": lambda request: self._list(
                request, lambda params: listing.walk(params["path"], listing.walk_options(params))
            ),
            "expand_glob": lambda request: self._list(request, listing.expand_glob),
        }

    def run(self) -> None:
        """Serve until the host's end is gone."""
        self._reactor.run()

    # -- events

    def _on_event(self, event: WireEvent) -> None:
        match event:
            case Data(stream, data):
                if (flow := self._flows.get(stream)) is not None:
                    flow.feed(data)
            case Request():
                self._on_request(event)
            case Credit(stream):
                self._channel.credit_arrived(stream)
            case End(stream):
                if (flow := self._flows.get(stream)) is not None:
                    flow.end()
            case Reset(stream):
                if (flow := self._flows.get(stream)) is not None:
                    flow.cancel()
                else:
                    self._unwanted.add(stream)

    def _on_request(self, request: Request) -> None:
        try:
            self._start(request)
        except OSError as error:
            self._refuse(request, error)
        except Busy as error:
            self._channel.send(self._channel.connection.fail(request.id, "EAGAIN", str(error)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"{request.method}: {type(error).__name__}: {error}"
            self._channel.send(self._channel.connection.fail(request.id, "EINVAL", text))

    def _start(self, request: Request) -> None:
        method = request.method
        if (on_loop := self._on_loop.get(method)) is not None:
            self._answer(request, on_loop(request.params))
        elif (deferred := self._deferred.get(method)) is not None:
            deferred(request)
        elif (operation := paths.OPERATIONS.get(method)) is not None:
            self._on_crew(request, lambda params, blob: (operation(params), b""))
        elif (on_handle := self._handles.operations.get(method)) is not None:
            self._on_crew(request, on_handle)
        else:
            self._refuse(request, OSError(errno.ENOSYS, f"the agent has no method {method!r}"))

    def _answer(self, request: Request, result: Any, blob: bytes = b"") -> None:
        self._channel.send(self._channel.connection.reply(request.id, result, blob))

    def _refuse(self, request: Request, error: OSError) -> None:
        frame = self._channel.connection.fail(request.id, os_error_name(error), os_error_text(error))
        self._channel.send(frame)

    # -- on the loop

    def _hello(self, params: Params) -> Any:
        return {"generation": GENERATION, "python": sys.version.split()[0], "kernel": os.uname().release}

    def _resume(self, params: Params) -> Any:
        # Under test on a host there is no root of ours; clock, name and machine id are the host's.
        if self._root is not None:
            resume.resume(self._root, params)

    def _adjust_clock(self, params: Params) -> Any:
        if self._root is not None:
            resume.adjust_clock(params["by_ns"])

    def _quiesce(self, params: Params) -> Any:
        if self._root is not None:
            resume.quiesce()

    def _umask(self, params: Params) -> Any:
        before = self._processes.umask
        if params.get("mask") is not None:
            self._processes.umask = params["mask"] & 0o777
        return before

    # -- on a crew

    def _crew(self, params: Params) -> Crew:
        return self._crews[params.get("user", "app")]

    def _on_crew(self, request: Request, operation: Callable[[Params, bytes], tuple[Any, bytes]]) -> None:
        crew, umask = self._crew(request.params), self._processes.umask

        def task() -> None:
            crew.identity.enter(umask)
            try:
                result, blob = operation(request.params, request.blob)
            except OSError as error:
                failure = error
                self._reactor.post(lambda: self._refuse(request, failure))
            except Exception as error:  # noqa: BLE001 - whatever a request makes fail is its answer
                wrong = OSError(errno.EINVAL, f"{request.method}: {type(error).__name__}: {error}")
                self._reactor.post(lambda: self._refuse(request, wrong))
            else:
                self._reactor.post(lambda: self._answer(request, result, blob))

        crew.run(task)

    def _read_file(self, request: Request) -> None:
        stream = request.params["stream"]

        def task(params: Params, blob: bytes) -> tuple[Any, bytes]:
            fd, size = contents.open_for_reading(params["path"])
            self._reactor.post(lambda: self._send_on(stream, crew, lambda out: contents.send_file(fd, out)))
            return {"size": size}, b""

        crew = self._crew(request.params)
        self._on_crew(request, task)

    def _list(self, request: Request, entries_of: Callable[[Params], Any]) -> None:
        stream = request.params["stream"]
        crew = self._crew(request.params)

        def task(params: Params, blob: bytes) -> tuple[Any, bytes]:
            # The first entry is made here, so that a path that does not exist fails the request itself.
            entries = iter(entries_of(params))
            first = [entry for entry in [next(entries, None)] if entry is not None]
            self._reactor.post(
                lambda: self._send_on(stream, crew, lambda out: listing.send_entries(entries, first, out))
            )
            return None, b""

        self._on_crew(request, task)

    def _send_on(self, stream: int, crew: Crew, send: Callable[[Outgoing], None]) -> None:
        out = Outgoing(stream, self._channel, self._reactor, lambda: self._forget(stream))
        self._flows[stream] = out
        umask = self._processes.umask

        def task() -> None:
            # Another thread of the crew may have taken the first step of a relative walk.
            crew.identity.enter(umask)
            send(out)

        if stream in self._unwanted:
            self._unwanted.discard(stream)
            out.cancel()
        try:
            crew.run(task)
        except Busy as error:
            out.fail("EAGAIN", str(error))

    def _write_file(self, request: Request) -> None:
        stream = request.params["stream"]
        source = Incoming(stream, self._channel, self._reactor, lambda: self._forget(stream))
        self._flows[stream] = source

        def task(params: Params, blob: bytes) -> tuple[Any, bytes]:
            try:
                contents.receive_file(params, source)
            except OSError as error:
                source.refuse(os_error_name(error), os_error_text(error))
                raise
            return None, b""

        self._on_crew(request, task)

    def _forget(self, stream: int) -> None:
        self._flows.pop(stream, None)

    # -- processes and connections

    def _spawn(self, request: Request) -> None:
        self._processes.start(
            request.params, lambda result: self._answer(request, result), lambda error: self._refuse(request, error)
        )

    def _warm(self, request: Request) -> None:
        """Do once what the first create and the first command will do: a pooled VM then has it translated and cached.

        The barrier is rehearsed with the guest's own bytes; the one that counts comes from the host at the create.
        """
        for _ in range(_REHEARSALS):
            rehearsal = {"entropy": os.urandom(256).hex(), "hostname": "atoll", "machine_id": os.urandom(16).hex()}
            self._resume({**rehearsal, "time_ns": time.time_ns()})
        self._warm_up(request, _REHEARSALS)

    def _warm_up(self, request: Request, left: int) -> None:
        if not left:
            self._answer(request, None)
            return
        params = {"argv": ["true"], "env": dict(_WARM_ENV), "cwd": "/", "user": "app"}
        self._processes.start(
            params,
            lambda result: None,
            lambda error: self._refuse(request, error),
            on_exit=lambda: self._warm_up(request, left - 1),
        )

    def _fetch(self, request: Request) -> None:
        # Outside the workload's root: its Python may be broken, and its certificate store is not the sandbox's.
        command = [sys.executable, "-I", "-S", "-E", "-B", sys.argv[0], "fetch"]
        params = {**request.params, "argv": command, "env": {"LANG": "C.UTF-8"}, "cwd": "/", "user": "outside"}
        self._processes.start(
            params, lambda result: self._answer(request, result), lambda error: self._refuse(request, error)
        )

    def _connect(self, request: Request) -> None:
        params = request.params

        def task(params: Params, blob: bytes) -> tuple[Any, bytes]:
            sock = socket.create_connection(("127.0.0.1", params["port"]), timeout=10)
            self._reactor.post(lambda: self._join(sock, params["in"], params["out"]))
            return None, b""

        self._on_crew(Request(request.id, request.method, {**params, "user": "root"}, b""), task)

    def _join(self, sock: socket.socket, stream_in: int, stream_out: int) -> None:
        given_up = {stream_in, stream_out} & self._unwanted
        if given_up:
            self._unwanted -= given_up
            sock.close()
            self._channel.send(self._channel.connection.end(stream_out))
            return

        def shut() -> None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            sock.close()
            self._forget(stream_in)

        self._flows[stream_out] = Outflow(
            os.dup(sock.fileno()), stream_out, self._channel, self._reactor, lambda: self._forget(stream_out)
        )
        self._flows[stream_in] = Inflow(os.dup(sock.fileno()), stream_in, self._channel, self._reactor, shut)
