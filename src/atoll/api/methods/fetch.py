"""fetch: an HTTP request made inside the sandbox."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from atoll.api.errors import error_object
from atoll.api.outbound import Outbound
from atoll.api.params import Method, Params, StreamId
from atoll.api.peer import Peer
from atoll.engine.fetch import FetchBody, fetch
from atoll.model.errors import AtollError


class _FetchParams(Params):
    url: str
    method: str
    headers: list[Annotated[list[str], Field(min_length=2, max_length=2)]]
    redirect: Literal["follow", "manual"]
    abort_id: int | None = None
    body_stream_id: StreamId | None = None
    pid: int | None = None


async def fetch_(peer: Peer, params: _FetchParams) -> dict[str, Any]:
    upload = None if params.body_stream_id is None else peer.inbound.take(params.body_stream_id)
    headers = [(name, value) for name, value in params.headers]
    try:
        response = await fetch(peer.sandbox, params.url, params.method, headers, params.redirect, upload, params.pid)
    finally:
        if upload is not None:
            upload.discard()
    return {
        "status": response.status,
        "statusText": response.text,
        "headers": response.headers,
        "bodyStreamId": None if response.body is None else _send_body(peer, response.body),
    }


def _send_body(peer: Peer, body: FetchBody) -> int | None:
    if not peer.quirks.reads_fetched_bodies:
        body.cancel()
        return None
    stream = peer.outbound.open()

    def on_cut() -> None:
        peer.outbound.close(stream)
        body.cancel()

    stream.on_cancel = peer.start_task(_move(stream, body), on_cut).cancel
    return stream.id


async def _move(stream: Outbound, body: FetchBody) -> None:
    await stream.settle()
    await stream.start()
    try:
        while chunk := await body.read():
            await stream.write(chunk)
    except AtollError as error:
        body.cancel()
        await stream.fail(error_object(error))
    else:
        await stream.end()


METHODS = {"fetch": Method(_FetchParams, fetch_)}
