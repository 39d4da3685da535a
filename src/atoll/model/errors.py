"""Every error that atoll raises on purpose, in one tree.

    AtollError
    ├── CallerError            the request cannot be served as it stands
    │   ├── InvalidSpec        a field of the request is wrong
    │   ├── NotAvailable       a documented option that this version does not have
    │   ├── Unauthorized       no token, or one that is not known
    │   ├── SandboxNotFound    no sandbox has this id
    │   ├── SandboxStopped     it existed and has ended
    │   ├── LimitReached       the operator's limit, or this host's capacity, is used up
    │   ├── ProcessNotFound    no process with this pid was started here, or it has exited
    │   ├── HandleNotFound     no open file has this handle
    │   └── TooLarge           a message or an answer over its bound
    ├── GuestError             what the guest's kernel answered to a well-formed request
    ├── ScriptError            what code in a REPL threw
    ├── Aborted                the caller took the request back
    └── HostError              ours: the request was fine
        ├── ImageError         the guest image cannot be built, or is not what its digest says
        ├── LaunchFailed       QEMU did not start or did not boot (has the command and the log's tail)
        └── LinkLost           the guest or its VMM went away while a request was under way
            └── ProtocolViolation  because the guest sent bytes that the wire protocol forbids

`code` is stable: scripts and the REST API rely on it. Data stands in fields, so that
nobody has to parse a message.
"""

from __future__ import annotations

from typing import ClassVar


class AtollError(Exception):
    """Base of the tree; `code` is the stable name of the kind of error."""

    code: ClassVar[str] = "INTERNAL_SERVER_ERROR"

    @property
    def message(self) -> str:
        return str(self)


class CallerError(AtollError):
    """The request cannot be served as it stands."""

    code = "BAD_REQUEST"


class InvalidSpec(CallerError):
    """A field of the request is wrong; `field` names it, in the caller's spelling."""

    code = "INVALID_CONFIG"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NotAvailable(CallerError):
    """A documented option or method that this version of atoll does not have."""

    code = "NOT_AVAILABLE"

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} is not available in this version of atoll{'; ' + remedy if remedy else ''}")
        self.what = what


class Unauthorized(CallerError):
    """No token was given, or one that is not known or was revoked."""

    code = "INVALID_TOKEN"


class SandboxNotFound(CallerError):
    """No sandbox has this id."""

    code = "SANDBOX_NOT_FOUND"

    def __init__(self, sandbox_id: str) -> None:
        super().__init__(f"no sandbox has the id {sandbox_id!r}")
        self.sandbox_id = sandbox_id


class SandboxStopped(CallerError):
    """The sandbox existed and has ended; `reason` says why."""

    code = "SANDBOX_STOPPED"

    def __init__(self, sandbox_id: str, reason: str) -> None:
        super().__init__(f"sandbox {sandbox_id} has stopped: {reason}")
        self.sandbox_id = sandbox_id
        self.reason = reason


class LimitReached(CallerError):
    """The operator's limit, or this host's memory or processors, are used up."""

    code = "SANDBOX_CONCURRENCY_LIMIT_EXCEEDED"

    def __init__(self, resource: str, limit: str, remedy: str) -> None:
        super().__init__(f"{resource}: the limit of {limit} is reached; {remedy}")
        self.resource = resource
        self.limit = limit


class ProcessNotFound(CallerError):
    """No process with this pid was started through this sandbox's API, or it has exited."""

    code = "PROCESS_NOT_FOUND"

    def __init__(self, pid: int) -> None:
        super().__init__(f"process {pid} does not exist or has already exited")
        self.pid = pid


class HandleNotFound(CallerError):
    """No open file of this sandbox has this handle."""

    code = "BAD_HANDLE"

    def __init__(self, handle: int) -> None:
        super().__init__(f"no open file has the handle {handle}")
        self.handle = handle


class TooLarge(CallerError):
    """A message or an answer is over its bound."""

    code = "TOO_LARGE"


class GuestError(AtollError):
    """What the guest's kernel answered; `errno_name` is the C name, as `ENOENT`."""

    code = "GUEST_ERROR"

    def __init__(self, errno_name: str, message: str) -> None:
        super().__init__(message)
        self.errno_name = errno_name


class ScriptError(AtollError):
    """What code in a REPL threw: the error's `name`, message and stack, as the guest tells them."""

    code = "SCRIPT_ERROR"

    def __init__(self, name: str, message: str, stack: str) -> None:
        super().__init__(f"{name}: {message}" if message else name)
        self.name = name
        self.stack = stack
        self._message = message

    @property
    def message(self) -> str:
        return self._message


class Aborted(AtollError):
    """The caller took the request back before it was done."""

    code = "ABORTED"


class HostError(AtollError):
    """Ours: the request was fine and could not be carried out."""


class ImageError(HostError):
    """The guest image cannot be built, found, or is not what its digest says."""

    code = "IMAGE_ERROR"


class LaunchFailed(HostError):
    """QEMU did not start, or the guest in it did not boot."""

    code = "LAUNCH_FAILED"

    def __init__(self, reason: str, *, command: tuple[str, ...] = (), log_tail: str = "") -> None:
        parts = [reason]
        if log_tail:
            parts.append("the end of its log:\n" + log_tail)
        if command:
            parts.append("the command was: " + " ".join(command))
        super().__init__("\n".join(parts))
        self.reason = reason
        self.command = command
        self.log_tail = log_tail


class LinkLost(HostError):
    """The guest or its VMM went away while a request was under way; its outcome is unknown."""

    code = "SANDBOX_LOST"


class ProtocolViolation(LinkLost):
    """The guest sent bytes that the wire protocol forbids; its link is closed."""

    code = "PROTOCOL_VIOLATION"
