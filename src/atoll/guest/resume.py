"""The barrier that every restored VM passes before it runs anything: it must stop being a copy."""

from __future__ import annotations

import fcntl
import gc
import os
import random
import socket
import struct
import time
from typing import Any

_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207


def reseed(entropy: bytes) -> None:
    """Mix `entropy` into the kernel's generator and make it the next key, then renew our own (random(4))."""
    fd = os.open("/dev/urandom", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _RNDADDENTROPY, struct.pack("ii", len(entropy) * 8, len(entropy)) + entropy)
        fcntl.ioctl(fd, _RNDRESEEDCRNG)
    finally:
        os.close(fd)
    random.seed()


def become(root: str, hostname: str, machine_id: str) -> None:
    """Take a name and a machine id of one's own, in the kernel and in the workload's `/etc`."""
    socket.sethostname(hostname)
    _write(f"{root}/etc/hostname", hostname + "\n")
    _write(f"{root}/etc/machine-id", machine_id + "\n")
    _write(f"{root}/etc/hosts", f"127.0.0.1 localhost {hostname}\n::1 localhost ip6-localhost ip6-loopback\n")


def adjust_clock(by_ns: int) -> None:
    """Step the wall clock, which the host has measured to be wrong by as much."""
    time.clock_settime_ns(time.CLOCK_REALTIME, time.time_ns() + by_ns)


def resume(root: str, params: dict[str, Any]) -> None:
    """Everything at once; the answer is what the host waits for before the first command."""
    time.clock_settime_ns(time.CLOCK_REALTIME, params["time_ns"])
    reseed(bytes.fromhex(params["entropy"]))
    become(root, params["hostname"], params["machine_id"])


def quiesce() -> None:
    """Leave as little as possible for a template to hold: written-back disks, no page cache, no garbage."""
    gc.collect()
    os.sync()
    _write("/proc/sys/vm/drop_caches", "3\n")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
