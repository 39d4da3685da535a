"""`abort`: take a request back (JavaScript only)."""

from __future__ import annotations

from atoll.api.params import Method, Params
from atoll.api.peer import Peer


class _AbortParams(Params):
    abort_id: int


async def abort(peer: Peer, params: _AbortParams) -> None:
    """Also for an id that is unknown or done with: an error would end the client's process (WIRE 4.10)."""
    peer.abort(params.abort_id)


METHODS = {"abort": Method(_AbortParams, abort)}
