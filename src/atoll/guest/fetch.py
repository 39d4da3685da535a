"""One HTTP request, made by a process of its own inside the sandbox (`agent.pyz fetch`).

Standard input: a line of JSON (`url`, `method`, `headers`, `redirect`, `port`), then the body.
Standard output: a line of JSON (`status`, `text`, `headers`, or `error` and `errno`), then the decoded body.
"""

from __future__ import annotations

import errno
import gzip
import http.client
import json
import socket
import ssl
import sys
import urllib.parse
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

_MAX_REDIRECTS = 20
_CHUNK = 32 * 1024
_TIMEOUT_S = 60
_MAX_HEAD_BYTES = 256 * 1024 - 1
_MAX_ERROR_CHARS = 1000
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "proxy-connection"})

_FAILURES = (OSError, http.client.HTTPException, ValueError, zlib.error, EOFError)

Headers = list[tuple[str, str]]


def main() -> int:
    """Carry the one request out. Exit status 0 when the answer is whole (also when it says `error`), else 1."""
    out = sys.stdout.buffer
    answered = False
    try:
        request = json.loads(sys.stdin.buffer.readline())
        response = _follow(request, sys.stdin.buffer.read() or None)
        _head(out, _head_of(response))
        answered = True
        for chunk in _decoded(response):
            out.write(chunk)
            out.flush()
    except _FAILURES as error:
        if answered:
            # The body is cut short, and a line of JSON in it would be taken for its end.
            return 1
        name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
        _head(out, {"error": f"{type(error).__name__}: {error}"[:_MAX_ERROR_CHARS], "errno": name})
    return 0


def _head_of(response: http.client.HTTPResponse) -> dict[str, Any]:
    headers = [(name.lower(), value) for name, value in response.getheaders()]
    dropped = _HOP_BY_HOP | ({"content-encoding", "content-length"} if _coding(response) else frozenset())
    kept = [pair for pair in headers if pair[0] not in dropped]
    head = {"status": response.status, "text": response.reason[:_MAX_ERROR_CHARS], "headers": kept}
    if len(json.dumps(head)) > _MAX_HEAD_BYTES:
        raise ValueError("the response's head is too large")
    return head


def _coding(response: http.client.HTTPResponse) -> str:
    """The coding that we undo, or nothing."""
    coding = (response.getheader("content-encoding") or "").strip().lower()
    return coding if coding in ("gzip", "x-gzip", "deflate") else ""


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
        return http.client.HTTPConnection(_loopback(port), port, timeout=_TIMEOUT_S)
    assert parts.hostname is not None
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    return http.client.HTTPSConnection(
        parts.hostname, parts.port, timeout=_TIMEOUT_S, context=ssl.create_default_context()
    )


def _loopback(port: int) -> str:
    """A program may listen on one of the two families only."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S).close()
    except ConnectionRefusedError:
        return "::1"
    return "127.0.0.1"


def _decoded(response: http.client.HTTPResponse) -> Iterator[bytes]:
    coding = _coding(response)
    if not coding:
        while chunk := response.read1(_CHUNK):
            yield chunk
        _check_whole(response)
        return
    if coding == "deflate":
        yield from _inflated(response)
        return
    with gzip.GzipFile(fileobj=response) as unpacked:
        while chunk := unpacked.read1(_CHUNK):
            yield chunk


def _check_whole(response: http.client.HTTPResponse) -> None:
    # `read1` takes the end of the connection for the end of the body (bpo-43972).
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)


def _inflated(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """RFC 9110 8.4.1.2 has the zlib format, and notes that some send raw deflate; the first bytes tell."""
    inflate = None
    while chunk := response.read1(_CHUNK):
        if inflate is None:
            is_zlib = chunk[0] & 0x0F == 8 and (chunk[0] << 8 | (chunk[1] if len(chunk) > 1 else 0)) % 31 == 0
            inflate = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        piece = inflate.decompress(chunk, _CHUNK)
        while piece:
            yield piece
            piece = inflate.decompress(inflate.unconsumed_tail, _CHUNK)
    if inflate is not None and not inflate.eof:
        raise EOFError("the compressed body ends early")
