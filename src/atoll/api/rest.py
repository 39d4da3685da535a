"""The REST calls about one sandbox: end it, extend it, and those that are not built yet."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from atoll.api.context import Api
from atoll.api.params import described
from atoll.model.errors import InvalidSpec, NotAvailable, SandboxStopped


class _Extension(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    stop_at_ms: float = Field(gt=0, lt=2**53)


async def kill(api: Api, request: web.Request) -> web.Response:
    """Ends it. Asking again for one that has ended is no error: it is as the caller wants it."""
    sandbox_id = request.match_info["id"]
    for sandbox in api.engine.live:
        if sandbox.id == sandbox_id:
            await sandbox.kill()
            return web.Response(status=204)
    try:
        await api.engine.get(sandbox_id)
    except SandboxStopped:
        pass
    return web.Response(status=204)


async def extend(api: Api, request: web.Request) -> web.Response:
    """Moves its end, and says what was granted: at most 30 minutes from now."""
    sandbox = await api.engine.get(request.match_info["id"])
    try:
        wanted = _Extension.model_validate_json(await request.read())
    except ValidationError as error:
        raise InvalidSpec("body", described(error)) from None
    return web.json_response({"stop_at_ms": sandbox.extend(int(wanted.stop_at_ms))})


async def expose_http(api: Api, request: web.Request) -> web.Response:
    await api.engine.get(request.match_info["id"])
    raise NotAvailable("exposing a port over HTTP", "use fetch with the process's pid")


async def expose_ssh(api: Api, request: web.Request) -> web.Response:
    await api.engine.get(request.match_info["id"])
    raise NotAvailable("SSH into a sandbox", "use spawn")


async def expose_vscode(api: Api, request: web.Request) -> web.Response:
    await api.engine.get(request.match_info["id"])
    raise NotAvailable("Visual Studio Code in a sandbox")
