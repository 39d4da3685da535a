from __future__ import annotations

from atoll.store import Owned, Store


async def test_what_is_owned_is_listed_until_it_is_removed(store: Store) -> None:
    await store.owned.add("sbx_b", "process", "17:99")
    await store.owned.add("sbx_a", "cgroup", "/x")
    await store.owned.add("sbx_a", "cgroup", "/x")
    assert await store.owned.list_all() == [Owned("sbx_a", "cgroup", "/x"), Owned("sbx_b", "process", "17:99")]
    await store.owned.remove("sbx_b", "process", "17:99")
    await store.owned.remove("sbx_b", "process", "17:99")
    assert await store.owned.list_all() == [Owned("sbx_a", "cgroup", "/x")]
