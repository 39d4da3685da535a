"""Deno Deploy's hosting, and the storage that follows: known, so that a client is told that they are not here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from atoll.model.errors import NotAvailable

Route = Callable[[web.Request], Awaitable[web.Response]]

_HOSTING = ("apps", "revisions", "layers")
_LATER = ("volumes", "snapshots")


def add_routes(router: web.UrlDispatcher) -> None:
    """All of their addresses, whatever the method."""
    for area in _HOSTING:
        _add(router, f"/api/v2/{area}", _hosting)
    for area in _LATER:
        _add(router, f"/api/v2/{area}", _storage)
    router.add_route("*", "/api/v2/sandboxes/{id}/deploy", _hosting)


def _add(router: web.UrlDispatcher, path: str, handler: Route) -> None:
    router.add_route("*", path, handler)
    router.add_route("*", path + "/{rest:.*}", handler)


async def _hosting(request: web.Request) -> web.Response:
    raise NotAvailable("Deno Deploy hosting (apps, revisions, layers, deploy)", "atoll runs sandboxes only")


async def _storage(request: web.Request) -> web.Response:
    raise NotAvailable("storage that outlives a sandbox (volumes, snapshots)")
