"""Builds the guest (root file system, kernel, initramfs), keeps it by digest, and packs the agent.

Primitives: `ImageStore`, `GuestImage`, `build_image`, `agent_bundle`, `agent_digest`.

An image is never changed after it has its name: its directory is called by the digest of
its files, and appears by one rename. This room starts no virtual machine, knows no sandbox,
and names no mirror or registry: what it downloads comes from where the host's own apt and
pip are configured to look.
"""

from __future__ import annotations

from atoll.image.build import build_image
from atoll.image.bundle import agent_bundle, agent_digest
from atoll.image.store import GuestImage, ImageStore

__all__ = ["GuestImage", "ImageStore", "agent_bundle", "agent_digest", "build_image"]
