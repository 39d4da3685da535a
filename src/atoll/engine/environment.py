"""A sandbox's environment variables: kept on the host, given to each process that starts."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.model.spec import check_env

BASE: Mapping[str, str] = {
    "PATH": "/home/app/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/home/app",
    "USER": "app",
    "LOGNAME": "app",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
}


class Environment:
    """Changes affect processes that start later, on every connection."""

    def __init__(self, sandbox_id: str, given: Mapping[str, str]) -> None:
        self._values = {**BASE, "ATOLL_SANDBOX_ID": sandbox_id, "DENO_DEPLOY_ORGANIZATION_ID": "atoll", **given}

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def set(self, name: str, value: str) -> None:
        """InvalidSpec for what execve(2) could not take."""
        check_env({**self._values, name: value})
        self._values[name] = value

    def delete(self, name: str) -> None:
        self._values.pop(name, None)

    def to_dict(self) -> dict[str, str]:
        return dict(self._values)

    def for_process(self, added: Mapping[str, str], *, clear: bool, user: str) -> dict[str, str]:
        """What one process gets: its own variables on top of the sandbox's, or alone with `clear`."""
        if clear:
            return dict(check_env(added))
        values = self._values | {"HOME": "/root", "USER": "root", "LOGNAME": "root"} if user == "root" else self._values
        return dict(check_env({**values, **added}))
