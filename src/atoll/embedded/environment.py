"""A sandbox's environment variables."""

from __future__ import annotations

from atoll.engine import Sandbox as EngineSandbox


class AsyncEnvironment:
    """Changes affect processes that start later."""

    def __init__(self, sandbox: EngineSandbox) -> None:
        self._values = sandbox.environment

    async def get(self, key: str) -> str | None:
        return self._values.get(key)

    async def set(self, key: str, value: str) -> None:
        """InvalidSpec for what no process could be given."""
        self._values.set(key, value)

    async def delete(self, key: str) -> None:
        self._values.delete(key)

    async def as_dict(self) -> dict[str, str]:
        """All of them, with the sandbox's own."""
        return self._values.to_dict()
