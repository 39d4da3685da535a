"""The values a VM is made from: its size, its accelerator, the files it boots from."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path


class Accel(enum.Enum):
    """What runs the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True)
class Shape:
    """A VM's size. Templates and pools are kept one for each."""

    memory_mib: int
    vcpus: int


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What a guest boots from. `digest` names the image, `agent_digest` the agent in `agent_cpio`.

    The kernel unpacks the concatenation of `initramfs` and `agent_cpio`, both newc archives.
    """

    digest: str
    rootfs: Path
    kernel: Path
    initramfs: Path
    agent_cpio: bytes
    agent_digest: str
