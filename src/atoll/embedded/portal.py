"""The thread whose event loop runs what the synchronous classes ask for.

It starts with the first open sandbox of the process and ends with the last one, or at the interpreter's exit.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, TypeVar

from atoll.embedded.shared_engine import close_engines
from atoll.model.errors import LinkLost

T = TypeVar("T")

# How long an interrupted call may take to give up before its caller goes on without it.
GIVE_UP_S = 10.0


class Portal:
    """Runs coroutines on its loop, from any other thread."""

    def __init__(self) -> None:
        self._outcomes: dict[concurrent.futures.Future[Any], asyncio.Task[None] | None] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._stopping = asyncio.Event()
        started: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        # A daemon, so that a program that forgot to leave a block can end; its sandboxes are ended then.
        self._thread = threading.Thread(target=self._run, args=(started,), name="atoll-portal", daemon=True)
        self._thread.start()
        self._loop = started.result()

    def _run(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        # Late: only this thread needs it, and it is what makes large streams fast.
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._live(started))

    async def _live(self, started: concurrent.futures.Future[asyncio.AbstractEventLoop]) -> None:
        started.set_result(asyncio.get_running_loop())
        await self._stopping.wait()
        await close_engines()

    def close(self, timeout_s: float | None = None) -> None:
        """End what is left of its sandboxes, the loop and the thread."""
        with self._lock:
            self._closed = True
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout_s)
        for outcome in list(self._outcomes):
            if not outcome.done():
                outcome.set_exception(LinkLost("the sandbox has ended"))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. An interruption of the caller, as by Ctrl-C, cancels it."""
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                work.close()
                raise LinkLost("the sandbox has ended")
            self._outcomes[outcome] = None
            self._loop.call_soon_threadsafe(self._start, work, outcome)
        try:
            concurrent.futures.wait([outcome])
        except BaseException:
            self._loop.call_soon_threadsafe(self._give_up, outcome)
            concurrent.futures.wait([outcome], timeout=GIVE_UP_S)
            raise
        finally:
            self._outcomes.pop(outcome, None)
        return outcome.result()

    def _start(self, work: Coroutine[Any, Any, T], outcome: concurrent.futures.Future[T]) -> None:
        self._outcomes[outcome] = self._loop.create_task(_settle(work, outcome))

    def _give_up(self, outcome: concurrent.futures.Future[Any]) -> None:
        if (task := self._outcomes.get(outcome)) is not None:
            task.cancel()

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """`items`, one step at a time."""
        try:
            while True:
                try:
                    yield self.run(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            self.run(_close(items))

    @contextmanager
    def entered(self, context: AbstractAsyncContextManager[T]) -> Iterator[T]:
        """The asynchronous context manager as one of this thread."""
        value = self.run(_enter(context))
        try:
            yield value
        except BaseException as error:
            if not self._leave(context, error):
                raise
        else:
            self._leave(context, None)

    def _leave(self, context: AbstractAsyncContextManager[Any], error: BaseException | None) -> bool | None:
        # A closed portal has ended everything already: the program is at its end.
        return None if self._closed else self.run(_exit(context, error))


async def _settle(work: Coroutine[Any, Any, T], outcome: concurrent.futures.Future[T]) -> None:
    try:
        result = await work
    except BaseException as error:
        outcome.set_exception(error)
        if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
            raise
    else:
        outcome.set_result(result)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)


async def _close(items: AsyncIterator[Any]) -> None:
    if (close := getattr(items, "aclose", None)) is not None:
        await close()


async def _enter(context: AbstractAsyncContextManager[T]) -> T:
    return await context.__aenter__()


async def _exit(context: AbstractAsyncContextManager[Any], error: BaseException | None) -> bool | None:
    if error is None:
        return await context.__aexit__(None, None, None)
    return await context.__aexit__(type(error), error, error.__traceback__)


_lock = threading.Lock()
_portal: Portal | None = None
_users = 0


@contextmanager
def open_portal() -> Iterator[Portal]:
    """The process's portal; it lives at least as long as the block."""
    portal = _take()
    try:
        yield portal
    finally:
        _give_back()


def _take() -> Portal:
    global _portal, _users
    with _lock:
        if _portal is None:
            _portal = Portal()
        _users += 1
        return _portal


def _give_back() -> None:
    global _portal, _users
    with _lock:
        _users -= 1
        portal = None
        if not _users:
            portal, _portal = _portal, None
    if portal is not None:
        portal.close()


def _close_at_exit() -> None:
    """End the sandboxes of a program that ends without leaving their blocks."""
    global _portal
    with _lock:
        portal, _portal = _portal, None
    if portal is not None:
        portal.close(GIVE_UP_S)


# `atexit` is too late: before it the interpreter waits for the executors' threads, and one of them may be waiting for
# a sandbox's end. What is registered here runs earlier, and the last first, hence after the import of the executors.
getattr(threading, "_register_atexit", atexit.register)(_close_at_exit)
