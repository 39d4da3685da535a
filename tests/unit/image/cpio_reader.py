"""A reader of the newc format, written from its description and sharing nothing with the writer."""

from __future__ import annotations


def read(data: bytes) -> list[tuple[str, int, bytes]]:
    """Name, mode and content of each member."""
    found: list[tuple[str, int, bytes]] = []
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += 110 + name_size
        at += -at % 4
        content = data[at : at + size]
        at += size
        at += -at % 4
        if name == "TRAILER!!!":
            assert not data[at:].strip(b"\0")
            return found
        found.append((name, mode, content))
