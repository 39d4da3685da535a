"""The settings as the VMM's room takes them, for commands that start VMs themselves."""

from __future__ import annotations

from atoll.config import vmm_config

__all__ = ["vmm_config"]
