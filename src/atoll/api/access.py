"""What happens to every request around its route: a trace id, the token, errors as JSON, a line in the log."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from atoll.api.errors import http_error
from atoll.api.quirks import quirks_of
from atoll.model.errors import AtollError, CallerError, HostError, Unauthorized
from atoll.model.events import Actor
from atoll.store.tokens import Tokens

TRACE_HEADER = "x-deno-trace-id"
TRACE: web.RequestKey[str] = web.RequestKey("trace", str)
ACTOR: web.RequestKey[Actor] = web.RequestKey("actor", Actor)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = structlog.get_logger("atoll.api")


class Access:
    """The middleware of all routes."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def middleware(self) -> Middleware:
        """For `web.Application`."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[TRACE] = secrets.token_hex(16)
            response = await self._answer(request, handler)
            if not response.prepared:
                response.headers[TRACE_HEADER] = request[TRACE]
            return response

        return guard

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            request[ACTOR] = await self._actor_of(request)
            return await handler(request)
        except web.HTTPException as error:
            return error_response(error.status, error.reason.upper().replace(" ", "_"), error.reason)
        except AtollError as error:
            return _refusal(request, error)
        except ConnectionError:
            # The client went away while it was answered.
            return error_response(499, "CLIENT_GONE", "the client went away")
        except Exception:  # noqa: BLE001 - a bug of ours in one request is logged whole, and the others go on
            _log.exception("request.failed", trace=request[TRACE], route=_route(request))
            return error_response(500, "INTERNAL_SERVER_ERROR", "internal error; the server's log says more")

    async def _actor_of(self, request: web.Request) -> Actor:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthorized("a token is needed: Authorization: Bearer ddo_…; make one with: atoll token create NAME")
        record = await self._tokens.verify(token.strip())
        if record is None:
            raise Unauthorized("this token is not known here, or was revoked; make one with: atoll token create NAME")
        user_agent = request.headers.get("user-agent")
        return Actor("api", token=record.name, client=quirks_of(user_agent).client)


def error_response(status: int, code: str, message: str) -> web.Response:
    """The body that both clients read: `code` and `message`, both text."""
    return web.json_response({"code": code, "message": message}, status=status)


def _refusal(request: web.Request, error: AtollError) -> web.Response:
    status, body = http_error(error)
    level = _log.error if isinstance(error, HostError) else _log.info
    # Our own errors carry QEMU's command and log, which are for this log only; a caller's may quote what it sent.
    reason = str(error) if not isinstance(error, CallerError) else None
    level("request.refused", trace=request[TRACE], route=_route(request), status=status, code=error.code, reason=reason)
    return web.json_response(body, status=status)


def _route(request: web.Request) -> str:
    """The pattern, not the path: a stranger's text stays out of the log."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else '?'}"
