"""User ids for VMs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from atoll.model.errors import LaunchFailed
from atoll.vmm.slots import PREFERRED_BASE, UidSlots, slot_base

WHOLE = "         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("uid_map", "base"),
    [
        (WHOLE, PREFERRED_BASE),
        ("0 100000 65536\n", 65536 - 4096),
        ("0 1000 1\n1 100000 65536\n", 65537 - 4096),
        ("0 1000 1\n", None),
    ],
)
def test_the_ids_exist_in_this_user_namespace(uid_map: str, base: int | None) -> None:
    assert slot_base(uid_map) == base


def test_no_two_leases_share_an_id_even_between_servers(tmp_path: Path) -> None:
    first, second = UidSlots(tmp_path, 1000, count=3), UidSlots(tmp_path, 1000, count=3)
    with ExitStack() as stack:
        ids = [stack.enter_context(slots.lease()) for slots in (first, second, first)]
        assert sorted(ids) == [1000, 1001, 1002]
        with pytest.raises(LaunchFailed, match="3 user ids"):
            stack.enter_context(second.lease())
    with second.lease() as uid:
        assert uid == 1000
