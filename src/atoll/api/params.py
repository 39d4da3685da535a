"""How parameters are checked, and how a client is told that they are wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from atoll.api.peer import Peer

INVALID_PARAMS = -32602
# What the JavaScript client can count.
StreamId = Annotated[int, Field(ge=0, lt=2**53)]


class Params(BaseModel):
    """Parameters of one method, by their names on the wire. Unknown ones are dropped, as the official schema does."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=to_camel)


class PidParams(Params):
    """Of a method about one process."""

    pid: int


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method: how its parameters are checked, and what it does."""

    params: type[Params]
    run: Callable[[Peer, Any], Awaitable[Any]]


def zod_error(error: ValidationError) -> dict[str, Any]:
    """The protocol-level error of which the Python client makes RpcValidationError (WIRE 4.1)."""
    issues = [
        {
            "expected": _expected(issue["type"]),
            "code": "invalid_type",
            "path": [str(part) for part in issue["loc"]],
            "message": f"Invalid input: {issue['msg']}",
        }
        for issue in error.errors(include_url=False, include_context=False, include_input=False)[:20]
    ]
    text = orjson.dumps(issues).decode()
    data = {"constructorName": "ZodError", "message": text}
    return {"code": INVALID_PARAMS, "message": "Invalid params", "data": data}


def described(error: ValidationError) -> str:
    """The first thing that is wrong, in words; without the value, which may be a secret."""
    issue = error.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(part) for part in issue["loc"])
    return f"{path or 'params'}: {issue['msg']}"


def _expected(kind: str) -> str:
    names = {"string": "string", "int": "number", "float": "number", "bool": "boolean", "dict": "record"}
    names |= {"list": "array", "tuple": "array", "model": "object", "missing": "nonoptional"}
    return names.get(kind.partition("_")[0], kind)
