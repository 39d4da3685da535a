"""The routes: which address is which function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from atoll.api import hosting, listing, rest, sessions
from atoll.api.access import Access
from atoll.api.context import Api

# A config with many hosts or some service accounts' keys easily passes the usual 8 KiB (WIRE 3.1).
MAX_HEADER_BYTES = 256 * 1024
MAX_BODY_BYTES = 64 * 1024


def build_app(api: Api) -> web.Application:
    """The application. Its server needs `max_line_size` and `max_field_size` of MAX_HEADER_BYTES."""
    app = web.Application(
        middlewares=[Access(api.store.tokens).middleware()],
        client_max_size=MAX_BODY_BYTES,
        handler_args={"max_line_size": MAX_HEADER_BYTES, "max_field_size": MAX_HEADER_BYTES},
    )

    def add(method: str, path: str, route: Callable[[Api, web.Request], Awaitable[web.StreamResponse]]) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            return await route(api, request)

        app.router.add_route(method, path, handler)

    add("GET", "/api/v3/sandboxes/create", sessions.create)
    add("GET", "/api/v3/sandbox/{id}/connect", sessions.connect)
    # JavaScript kills at the sandbox endpoint, Python at the console's.
    add("DELETE", "/api/v3/sandbox/{id}", rest.kill)
    add("DELETE", "/api/v3/sandboxes/{id}", rest.kill)
    add("PATCH", "/api/v3/sandbox/{id}", rest.extend)
    add("POST", "/api/v3/sandbox/{id}/expose/http", rest.expose_http)
    add("POST", "/api/v3/sandbox/{id}/expose/ssh", rest.expose_ssh)
    add("POST", "/api/v3/sandbox/{id}/expose/vscode", rest.expose_vscode)
    add("GET", "/api/v2/sandboxes", listing.list_sandboxes)
    add("GET", "/api/v3/sandboxes", listing.list_sandboxes)
    hosting.add_routes(app.router)
    return app
