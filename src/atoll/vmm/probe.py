"""The smallest guest that proves that an accelerator works: a kernel and one program of 200 bytes."""

from __future__ import annotations

import struct

MARKER = b"atoll-probe: reached user space"

_LOAD_ADDRESS = 0x400000
_HEADERS_BYTES = 64 + 56


def program() -> bytes:
    """A static x86-64 ELF file that writes MARKER to its standard output and waits for ever."""
    text = MARKER + b"\n"
    code = (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1 (write)
        b"\xbf\x01\x00\x00\x00"  # mov edi, 1
        b"\x48\x8d\x35" + struct.pack("<i", 16) +  # lea rsi, [rip + 16], the text
        b"\xba" + struct.pack("<I", len(text)) +  # mov edx, length
        b"\x0f\x05"  # syscall
        b"\xb8\x22\x00\x00\x00"  # mov eax, 34 (pause)
        b"\x0f\x05"  # syscall
        b"\xeb\xf7"  # jmp back to pause
    )  # fmt: skip
    size = _HEADERS_BYTES + len(code) + len(text)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\x00")
    entry = _LOAD_ADDRESS + _HEADERS_BYTES
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _LOAD_ADDRESS, _LOAD_ADDRESS, size, size, 4096)
    return header + segment + code + text


def initramfs() -> bytes:
    """A newc cpio archive with `/dev/console` and `program()` as `/init`."""
    return (
        _entry("dev", 0o040755)
        + _entry("dev/console", 0o020600, device=(5, 1))
        + _entry("init", 0o100755, program())
        + _entry("TRAILER!!!", 0)
    )


def _entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    encoded = name.encode() + b"\x00"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08x" % number for number in numbers)
    return _padded(header + encoded) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\x00" * (-len(data) % 4)
