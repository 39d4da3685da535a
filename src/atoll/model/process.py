"""What a caller asks a process to be, and how it ended."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.model.errors import InvalidSpec

MAX_ARGV_BYTES = 2 * 1024 * 1024


class Oom(enum.Enum):
    """How sure the agent is that the kernel's out-of-memory killer ended a process."""

    LOW = "low-confidence"
    HIGH = "high-confidence"


@dataclass(frozen=True, slots=True)
class PtySize:
    """A terminal's size in character cells."""

    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class SpawnSpec:
    """One process as asked for. `env` is complete when `clear_env`, otherwise added to the sandbox's.

    `user` is `app` or `root`. With `pty` there is one stream each way: stdout carries stderr too.
    """

    argv: tuple[str, ...]
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    clear_env: bool = False
    user: str = "app"
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    pty: PtySize | None = None

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0]:
            raise InvalidSpec("command", "is empty")
        for text in (*self.argv, self.cwd or ""):
            if "\x00" in text:
                raise InvalidSpec("command", "contains a NUL byte")
        if self.user not in ("app", "root"):
            raise InvalidSpec("user", f'{self.user!r} is not "app" or "root"')
        if sum(len(text) + 1 for text in self.argv) > MAX_ARGV_BYTES:
            raise InvalidSpec("args", f"over {MAX_ARGV_BYTES} bytes in all")


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: `code` is 128 + n and `signal` its name when signal n ended it."""

    code: int
    signal: str | None = None
    oom: Oom | None = None

    @property
    def success(self) -> bool:
        return self.code == 0
