"""From the error tree to what clients understand: an HTTP status with a code, or Deno's ErrorObject (WIRE 1.4, 4.2)."""

from __future__ import annotations

from typing import Any

from atoll.model.errors import (
    Aborted,
    AtollError,
    CallerError,
    GuestError,
    HandleNotFound,
    InvalidSpec,
    LaunchFailed,
    LimitReached,
    NotAvailable,
    ProcessNotFound,
    SandboxNotFound,
    SandboxStopped,
    ScriptError,
    TooLarge,
    Unauthorized,
)


class UpgradeRequired(CallerError):
    """The address takes WebSockets only."""

    code = "UPGRADE_REQUIRED"


class TooManyConnections(CallerError):
    """No more WebSockets at once."""

    code = "TOO_MANY_CONNECTIONS"


class TooManyRequests(CallerError):
    """No more requests at once on one connection."""

    code = "TOO_MANY_REQUESTS"


_STATUS: dict[type[BaseException], int] = {
    AtollError: 500,
    CallerError: 400,
    Unauthorized: 401,
    SandboxNotFound: 404,
    ProcessNotFound: 404,
    HandleNotFound: 404,
    SandboxStopped: 410,
    TooLarge: 413,
    UpgradeRequired: 426,
    LimitReached: 429,
    NotAvailable: 501,
    TooManyConnections: 503,
}

# Deno's own names, so that `instanceof Deno.errors.NotFound` holds. What is missing here is a plain Error.
_CONSTRUCTOR_OF_ERRNO = {
    "ENOENT": "NotFound",
    "EEXIST": "AlreadyExists",
    "EACCES": "PermissionDenied",
    "EPERM": "PermissionDenied",
    "EISDIR": "IsADirectory",
    "ENOTDIR": "NotADirectory",
    "EBUSY": "Busy",
    "ELOOP": "FilesystemLoop",
    "EPIPE": "BrokenPipe",
    "ECONNREFUSED": "ConnectionRefused",
    "ECONNRESET": "ConnectionReset",
    "ENOTCONN": "NotConnected",
    "EADDRINUSE": "AddrInUse",
    "EADDRNOTAVAIL": "AddrNotAvailable",
    "ETIMEDOUT": "TimedOut",
    "EBADF": "BadResource",
    "EAGAIN": "WouldBlock",
    "EINTR": "Interrupted",
    "EINVAL": "TypeError",
    "ENOSYS": "NotSupported",
    "EOPNOTSUPP": "NotSupported",
}

# Constructor and code. Both clients take TypeError with ENOENT for a process that has exited: nothing else may be that.
_ERROR_OBJECT: dict[type[BaseException], tuple[str, str | None]] = {
    ProcessNotFound: ("TypeError", "ENOENT"),
    HandleNotFound: ("BadResource", "EBADF"),
    InvalidSpec: ("TypeError", "EINVAL"),
    NotAvailable: ("NotSupported", "NOT_AVAILABLE"),
}

# What JavaScript can make an instance of; a script may throw anything that calls itself something.
_BUILTIN_ERRORS = frozenset(
    ("Error", "TypeError", "ReferenceError", "SyntaxError", "RangeError", "URIError", "EvalError", "AggregateError")
)


def http_error(error: AtollError) -> tuple[int, dict[str, str]]:
    """The status and the body of an error as a REST answer."""
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    return status, {"code": error.code, "message": public_message(error)}


def public_message(error: AtollError) -> str:
    """What a client may read: QEMU's command and log are the operator's, and stand in the server's log."""
    return error.reason if isinstance(error, LaunchFailed) else error.message


def error_object(error: BaseException) -> dict[str, Any]:
    """An error as a result-level ErrorObject. Only our own errors say what happened."""
    if isinstance(error, ScriptError):
        return _of_script(error)
    if isinstance(error, Aborted):
        # A DOMException with a code crashes the decoder of the JavaScript client.
        return _object("DOMException", error.message, None, "AbortError")
    if isinstance(error, GuestError):
        return _object(_CONSTRUCTOR_OF_ERRNO.get(error.errno_name, "Error"), error.message, error.errno_name)
    if isinstance(error, AtollError):
        constructor, code = next(
            (_ERROR_OBJECT[kind] for kind in type(error).__mro__ if kind in _ERROR_OBJECT), ("Error", error.code)
        )
        return _object(constructor, public_message(error), code)
    return _object("Error", "internal error; the server's log says more", AtollError.code)


def _of_script(error: ScriptError) -> dict[str, Any]:
    constructor = error.name if error.name in _BUILTIN_ERRORS else "Error"
    return {**_object(constructor, error.message, None, error.name), "stack": error.stack}


def _object(constructor: str, message: str, code: str | None, name: str | None = None) -> dict[str, Any]:
    return {"constructorName": constructor, "message": message, "code": code, "name": name}
