"""Deno Sandbox's API, as both official clients speak it: REST, and JSON-RPC on WebSockets.

Primitives: `Api` (what the routes share), `build_app` (the routes), `Connection` (one WebSocket: its receive loop, a
task per request, its streams), `METHODS` (one function per RPC method), `Quirks` (what each client needs, and why).
Foreign types end here: what comes in is validated once, what goes out is shaped once.

Must not: know QEMU or a file of the store, keep a sandbox alive, or log a token, a config, a path's content or an
environment variable's value.
"""

from atoll.api.app import build_app
from atoll.api.context import Api, ApiSettings

__all__ = ["Api", "ApiSettings", "build_app"]
