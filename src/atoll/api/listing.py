"""Lists of sandboxes, with both clients' ways to filter by label and to page (WIRE 2.1, 2.3)."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from yarl import URL

from atoll.api.context import Api
from atoll.model.errors import InvalidSpec
from atoll.model.lifecycle import State
from atoll.model.spec import MAX_LABELS
from atoll.store.records import MAX_PAGE, SandboxRecord

# Neither client asks for a page size, and Python's iterator never gets past page two: such a client gets one page.
MAX_WITHOUT_LIMIT = 10_000
_MAX_REPR_CHARS = 8 * 1024
_LABEL_KEY = re.compile(r"labels\[(.*)\]\Z", re.DOTALL)


async def list_sandboxes(api: Api, request: web.Request) -> web.Response:
    """Newest first, running and stopped, as a bare array."""
    labels = parse_labels(list(request.query.items()))
    limit, cursor = _limit(request), _cursor(request)
    records, following = await _read(api, labels, limit, cursor)
    response = web.json_response([_shape(record) for record in records])
    if following is not None and limit is not None:
        # An absolute URL, and nothing after rel: JavaScript ignores the header otherwise.
        url = _own_url(request).update_query({"cursor": following})
        response.headers["Link"] = f'<{url}>; rel="next"'
    return response


async def _read(
    api: Api, labels: Mapping[str, str], limit: int | None, cursor: str | None
) -> tuple[list[SandboxRecord], str | None]:
    if limit is not None:
        page = await api.store.sandboxes.list(labels, limit=limit, after=cursor)
        return list(page.records), page.next
    found: list[SandboxRecord] = []
    while len(found) < MAX_WITHOUT_LIMIT:
        page = await api.store.sandboxes.list(labels, limit=MAX_PAGE, after=cursor)
        found += page.records
        cursor = page.next
        if cursor is None:
            break
    return found, None


def parse_labels(query: list[tuple[str, str]]) -> dict[str, str]:
    """`labels[k]=v` of JavaScript, and the repr of a dict that Python puts into `labels`."""
    labels: dict[str, str] = {}
    for key, value in query:
        if (match := _LABEL_KEY.match(key)) is not None:
            labels[match[1]] = value
        elif key == "labels":
            labels |= _from_repr(value)
    if len(labels) > MAX_LABELS:
        raise InvalidSpec("labels", f"{len(labels)} labels, over the limit of {MAX_LABELS}")
    return labels


def _from_repr(text: str) -> dict[str, str]:
    """Literals only, and few of them: nothing is evaluated."""
    try:
        if len(text) > _MAX_REPR_CHARS:
            raise ValueError("too long")
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise InvalidSpec("labels", "is not labels[key]=value, and not a dict of texts as Python prints one")
    return value


def _limit(request: web.Request) -> int | None:
    text = request.query.get("limit")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MAX_PAGE):
        raise InvalidSpec("limit", f"is not a number from 1 to {MAX_PAGE}")
    return int(text)


def _cursor(request: web.Request) -> str | None:
    """The last one counts; Python sends the whole URL of the next page as its value."""
    given = request.query.getall("cursor", [])
    if not given:
        return None
    inner = parse_qs(urlsplit(given[-1]).query).get("cursor") if "://" in given[-1] else None
    return inner[-1] if inner else given[-1]


def _own_url(request: web.Request) -> URL:
    """The request's URL without its cursor. Neither client takes a comma or a semicolon in it."""
    kept = [(key, value) for key, value in request.query.items() if key != "cursor"]
    url = request.url.with_query(kept)
    return URL(str(url).replace(",", "%2C").replace(";", "%3B"), encoded=True)


def _shape(record: SandboxRecord) -> dict[str, Any]:
    stopped = record.stopped_at_ms
    return {
        "id": record.id,
        "createdAt": _iso(record.created_at_ms),
        "stoppedAt": None if stopped is None else _iso(stopped),
        "region": record.region,
        "status": "stopped" if record.status is State.STOPPED else "running",
        "labels": dict(record.labels),
    }


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
