"""One HTTP request, made by a process of its own inside the sandbox (`agent.pyz fetch`).

Standard input: a line of JSON (`url`, `method`, `headers`, `redirect`, `port`), then the body.
Standard output: a line of JSON (`status`, `text`, `headers`, or `error`), then the decoded body.
"""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import sys
import urllib.parse
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

_MAX_REDIRECTS = 20
_CHUNK = 32 * 1024
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"})

Headers = list[tuple[str, str]]


def main() -> int:
    """Carry the one request out; exit status 0 even when it failed, for the answer says so."""
    request = json.loads(sys.stdin.buffer.readline())
    body = sys.stdin.buffer.read() or None
    out = sys.stdout.buffer
    try:
        response = _follow(request, body)
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        coding = dict(headers).get("content-encoding", "").strip().lower()
        kept = [pair for pair in headers if pair[0] not in _HOP_BY_HOP | {"content-encoding", "content-length"}]
        _head(out, {"status": response.status, "text": response.reason, "headers": kept})
        for chunk in _decoded(response, coding):
            out.write(chunk)
            out.flush()
    except (OSError, http.client.HTTPException, ValueError, zlib.error, EOFError) as error:
        _head(out, {"error": f"{type(error).__name__}: {error}"})
    return 0


def _head(out: BinaryIO, head: dict[str, Any]) -> None:
    out.write(json.dumps(head).encode("ascii") + b"\n")
    out.flush()


def _follow(request: dict[str, Any], body: bytes | None) -> http.client.HTTPResponse:
    url, method, headers = request["url"], request["method"], [(name, value) for name, value in request["headers"]]
    for _ in range(_MAX_REDIRECTS + 1):
        response = _ask(url, method, headers, body, request.get("port"))
        target = response.getheader("location")
        if request["redirect"] != "follow" or response.status not in (301, 302, 303, 307, 308) or not target:
            return response
        # RFC 9110 15.4: 303 turns into GET, and so do 301 and 302 after POST, as every browser does.
        if response.status == 303 or (response.status in (301, 302) and method == "POST"):
            method, body = ("HEAD" if method == "HEAD" else "GET"), None
            headers = [pair for pair in headers if not pair[0].lower().startswith("content-")]
        following = urllib.parse.urljoin(url, target)
        if urllib.parse.urlsplit(following)[:2] != urllib.parse.urlsplit(url)[:2]:
            headers = [pair for pair in headers if pair[0].lower() not in ("authorization", "cookie")]
        url = following
        response.close()
    raise ValueError(f"more than {_MAX_REDIRECTS} redirects")


def _ask(url: str, method: str, headers: Headers, body: bytes | None, port: int | None) -> http.client.HTTPResponse:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"cannot fetch {url[:200]!r}: only http and https URLs can be fetched")
    connection = _connection(parts, port)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        connection.putheader("host", parts.netloc.rpartition("@")[2])
    for name, value in headers:
        if name.lower() not in _HOP_BY_HOP | {"content-length"}:
            connection.putheader(name, value.encode("utf-8"))
    for name, value in (("accept", "*/*"), ("accept-encoding", "gzip, deflate"), ("user-agent", "atoll")):
        if name not in names:
            connection.putheader(name, value)
    if body is not None or method in ("POST", "PUT", "PATCH"):
        connection.putheader("content-length", str(len(body or b"")))
    connection.endheaders(body)
    return connection.getresponse()


def _connection(parts: urllib.parse.SplitResult, port: int | None) -> http.client.HTTPConnection:
    # With `port` the request goes to that port of the sandbox itself, whatever host the URL names.
    if port is not None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    assert parts.hostname is not None
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=60, context=ssl.create_default_context())


def _decoded(response: http.client.HTTPResponse, coding: str) -> Iterator[bytes]:
    if coding in ("gzip", "x-gzip"):
        with gzip.GzipFile(fileobj=response) as unpacked:
            while chunk := unpacked.read1(_CHUNK):
                yield chunk
        return
    inflate = zlib.decompressobj() if coding == "deflate" else None
    while chunk := response.read1(_CHUNK):
        yield inflate.decompress(chunk) if inflate else chunk
