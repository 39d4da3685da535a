"""Which TCP ports a process (or one of its children) listens on, by the kernel's own tables."""

from __future__ import annotations

import os

_LISTEN = "0A"


def listening_ports(pid: int) -> list[int]:
    """Sorted ports; ProcessLookupError when `pid` is gone."""
    if not os.path.exists(f"/proc/{pid}"):
        raise ProcessLookupError(3, "no such process")
    listening = _listening_inodes()
    if not listening:
        return []
    ports: set[int] = set()
    for member in _family(pid):
        ports.update(listening[inode] for inode in _socket_inodes(member) if inode in listening)
    return sorted(ports)


def _listening_inodes() -> dict[str, int]:
    found: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def _socket_inodes(pid: int) -> list[str]:
    inodes: list[str] = []
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return inodes
    for name in names:
        try:
            target = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.append(target[8:-1])
    return inodes


def _family(pid: int) -> list[int]:
    """`pid` and its descendants."""
    members = [pid]
    for member in members:
        try:
            with open(f"/proc/{member}/task/{member}/children", encoding="ascii") as file:
                members.extend(int(child) for child in file.read().split())
        except OSError:
            continue
    return members
