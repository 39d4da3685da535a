"""The ELF kernel inside a bzImage: QEMU enters it directly (PVH), and nothing is unpacked at boot."""

from __future__ import annotations

import struct

from atoll.image import compression
from atoll.model.errors import ImageError

_ELF = b"\x7fELF"
# Offsets in the setup header: Linux, Documentation/arch/x86/boot.rst.
_SETUP_SECTORS = 0x1F1
_SIGNATURE = 0x202
_VERSION = 0x206
_PAYLOAD_OFFSET = 0x248
_PAYLOAD_LENGTH = 0x24C
_FIRST_WITH_PAYLOAD = 0x0208


def vmlinux(image: bytes) -> bytes:
    """The uncompressed ELF kernel of `image`, which is a bzImage or is one already; ImageError if neither."""
    kernel = image if image.startswith(_ELF) else _unpacked(image)
    if not kernel.startswith(_ELF):
        raise ImageError("the kernel's payload is not an ELF file")
    return kernel


def _unpacked(image: bytes) -> bytes:
    if image[_SIGNATURE : _SIGNATURE + 4] != b"HdrS" or len(image) < _PAYLOAD_LENGTH + 4:
        raise ImageError("the kernel is neither an ELF file nor a bzImage")
    (version,) = struct.unpack_from("<H", image, _VERSION)
    if version < _FIRST_WITH_PAYLOAD:
        raise ImageError(f"the kernel's boot protocol {version:#x} does not say where its payload is")
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_OFFSET)
    start = ((image[_SETUP_SECTORS] or 4) + 1) * 512 + offset
    payload = image[start : start + length]
    if len(payload) != length:
        raise ImageError("the kernel is cut short")
    # The build appends the unpacked size to every packing but gzip, which has it already: only the
    # tools care, and they call it trailing garbage.
    return compression.unpack(payload if payload.startswith(b"\x1f\x8b") else payload[:-4])
