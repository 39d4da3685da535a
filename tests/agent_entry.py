"""Stands for `agent.pyz` where the agent starts itself again: outside a guest its code is this checkout's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

if __name__ == "__main__":
    from atoll.guest import fetch

    assert sys.argv[1:] == ["fetch"]
    sys.exit(fetch.main())
