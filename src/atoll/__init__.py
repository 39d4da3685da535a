"""atoll: untrusted code in disposable microVMs on your own machine.

`Sandbox` and `AsyncSandbox` are loaded on first use, so that the guest can import
`atoll.wire` and `atoll.guest` with nothing but the standard library installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atoll.embedded import AsyncSandbox, Sandbox

__version__ = "0.1.0"
__all__ = ["AsyncSandbox", "Sandbox", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("AsyncSandbox", "Sandbox"):
        from atoll import embedded

        return getattr(embedded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
