"""Sandboxes in your own process, without a server: `with Sandbox.create() as sandbox: …`.

`AsyncSandbox` runs on the caller's event loop; the sandboxes of one loop share one engine, which lives as long as
any of them. `Sandbox` is the same for programs without a loop: its classes are generated from the asynchronous
ones (`tools/generate_sync.py`) and run them on a thread that ends with the last sandbox.

The shape is that of Deno Sandbox's Python client. What this version cannot do raises NotAvailable.
"""

from atoll.embedded._sync import (
    Deno,
    DenoProcess,
    DenoRepl,
    Environment,
    File,
    Files,
    Process,
    Reader,
    Response,
    Sandbox,
)
from atoll.embedded.deno import AsyncDeno, AsyncDenoProcess, AsyncDenoRepl
from atoll.embedded.environment import AsyncEnvironment
from atoll.embedded.files import AsyncFile, AsyncFiles
from atoll.embedded.process import AsyncProcess
from atoll.embedded.response import AsyncResponse
from atoll.embedded.sandbox import AsyncSandbox
from atoll.embedded.streams import AsyncReader

__all__ = [
    "AsyncDeno",
    "AsyncDenoProcess",
    "AsyncDenoRepl",
    "AsyncEnvironment",
    "AsyncFile",
    "AsyncFiles",
    "AsyncProcess",
    "AsyncReader",
    "AsyncResponse",
    "AsyncSandbox",
    "Deno",
    "DenoProcess",
    "DenoRepl",
    "Environment",
    "File",
    "Files",
    "Process",
    "Reader",
    "Response",
    "Sandbox",
]
