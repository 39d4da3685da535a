"""What host and guest say to each other over the one virtio-serial port between them.

Sans-IO: bytes in, frames out, and the other way round; both ends share this code. It has
no socket, no clock and no task. It must not trust the peer: every frame is bounded, and on
the host every frame that a guest can send was paid for by something that the host did (a
request, a granted window), so a hostile guest can neither bloat the host nor keep it busy.
"""

from atoll.wire.connection import Connection, Credit, Data, End, Notice, Reply, Request, Reset, WireEvent
from atoll.wire.frames import GENERATION, WireError

__all__ = [
    "GENERATION",
    "Connection",
    "Credit",
    "Data",
    "End",
    "Notice",
    "Reply",
    "Request",
    "Reset",
    "WireError",
    "WireEvent",
]
