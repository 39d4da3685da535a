"""Unpacks what Linux packs kernels and modules with, told apart by the first bytes."""

from __future__ import annotations

import lzma
import subprocess
import zlib

from atoll.model.errors import ImageError

_GZIP = b"\x1f\x8b"
_XZ = b"\xfd7zXZ\0"
# The kernel's lz4 is the legacy frame, which only the tool reads.
_TOOLS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"\x04\x22\x4d\x18": "lz4"}


def unpack(data: bytes) -> bytes:
    """The content of `data`; bytes after the end of the packed stream are ignored. ImageError if unknown or broken."""
    try:
        if data.startswith(_GZIP):
            return zlib.decompressobj(wbits=31).decompress(data)
        if data.startswith(_XZ):
            return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data)
    except (zlib.error, lzma.LZMAError) as error:
        raise ImageError(f"cannot unpack the kernel or a module: {error}") from error
    tool = _TOOLS.get(data[:4])
    if tool is None:
        raise ImageError(f"the kernel or a module is packed in an unknown way (it starts with {data[:6].hex()})")
    return _by_tool(tool, data)


def _by_tool(tool: str, data: bytes) -> bytes:
    try:
        done = subprocess.run([tool, "-dcq"], input=data, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise ImageError(f"{tool} is missing, and the kernel is packed with it; `apt-get install {tool}`") from error
    if done.returncode != 0:
        raise ImageError(f"{tool} cannot unpack the kernel: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
