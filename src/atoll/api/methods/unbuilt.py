"""Methods that this version does not have. They are known, so that a client is told what is missing."""

from __future__ import annotations

from typing import NoReturn

from atoll.api.params import Method, Params
from atoll.api.peer import Peer
from atoll.model.errors import NotAvailable


async def expose_http(peer: Peer, params: Params) -> NoReturn:
    raise NotAvailable("exposing a port over HTTP", "use fetch with the process's pid")


async def vscode(peer: Peer, params: Params) -> NoReturn:
    raise NotAvailable("Visual Studio Code in a sandbox")


METHODS = {"exposeHttp": Method(Params, expose_http), "vscode": Method(Params, vscode)}
