from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from atoll.model.errors import InvalidSpec, SandboxNotFound
from atoll.model.ids import new_sandbox_id
from atoll.model.lifecycle import State, StopReason
from atoll.model.spec import SandboxSpec
from atoll.store import Store


async def start(store: Store, labels: Mapping[str, str] | None = None, at_ms: int = 1) -> str:
    sandbox_id = new_sandbox_id()
    await store.sandboxes.put_started(sandbox_id, SandboxSpec(labels=labels or {}), at_ms)
    return sandbox_id


async def test_a_record_follows_its_sandbox(store: Store) -> None:
    sandbox_id = await start(store, {"team": "red"}, at_ms=100)
    record = await store.sandboxes.get(sandbox_id)
    assert (record.status, record.accelerator, record.labels) == (State.STARTING, None, {"team": "red"})
    assert (record.region, record.memory_mib, record.vcpus) == ("ord", 1280, 2)

    await store.sandboxes.put_running(sandbox_id, accelerator="tcg", image_digest="sha256:ab")
    record = await store.sandboxes.get(sandbox_id)
    assert (record.status, record.accelerator, record.image_digest) == (State.RUNNING, "tcg", "sha256:ab")
    assert (record.stopped_at_ms, record.stop_reason) == (None, None)

    await store.sandboxes.put_stopped(sandbox_id, StopReason.KILLED, 200)
    record = await store.sandboxes.get(sandbox_id)
    assert (record.status, record.created_at_ms, record.stopped_at_ms) == (State.STOPPED, 100, 200)
    assert record.stop_reason is StopReason.KILLED


async def test_the_first_stop_reason_stands(store: Store) -> None:
    sandbox_id = await start(store)
    await store.sandboxes.put_stopped(sandbox_id, StopReason.DEADLINE, 2)
    await store.sandboxes.put_stopped(sandbox_id, StopReason.LINK_LOST, 3)
    record = await store.sandboxes.get(sandbox_id)
    assert (record.stop_reason, record.stopped_at_ms) == (StopReason.DEADLINE, 2)


async def test_a_stopped_sandbox_never_runs_again(store: Store) -> None:
    sandbox_id = await start(store)
    await store.sandboxes.put_stopped(sandbox_id, StopReason.START_FAILED, 2)
    with pytest.raises(SandboxNotFound):
        await store.sandboxes.put_running(sandbox_id, accelerator="tcg", image_digest="sha256:ab")
    assert (await store.sandboxes.get(sandbox_id)).status is State.STOPPED


@pytest.mark.parametrize("unknown", [new_sandbox_id(), "", "sbx_ord_", "\ud800", "' OR 1=1 --", "a\x00b"])
async def test_an_unknown_id_is_not_found(store: Store, unknown: str) -> None:
    await start(store)
    with pytest.raises(SandboxNotFound):
        await store.sandboxes.get(unknown)


async def test_pages_hold_each_record_once_newest_first(store: Store) -> None:
    # All made in the same millisecond: the order must not hang on the clock.
    ids = [await start(store) for _ in range(25)]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = await store.sandboxes.list(limit=7, after=after)
        seen += [record.id for record in page.records]
        await start(store)  # what comes in between does not shift the pages that follow
        if page.next is None:
            break
        after = page.next
    assert seen == ids[::-1]


async def test_a_full_last_page_has_no_next(store: Store) -> None:
    for _ in range(4):
        await start(store)
    first = await store.sandboxes.list(limit=2)
    second = await store.sandboxes.list(limit=2, after=first.next)
    assert first.next is not None
    assert second.next is None


async def test_labels_filter_by_all_of_them(store: Store) -> None:
    both = await start(store, {"team": "red", "env": "ci"})
    await start(store, {"team": "red", "env": "prod"})
    await start(store, {"env": "red", "team": "ci"})
    page = await store.sandboxes.list({"team": "red", "env": "ci"})
    assert [record.id for record in page.records] == [both]
    assert (await store.sandboxes.list({"team": "green"})).records == []


@pytest.mark.parametrize("value", ["\ud800\\ud800", "ü 𝄞", "%", "a\x00b", ""])
async def test_any_label_comes_back_as_it_was(store: Store, value: str) -> None:
    sandbox_id = await start(store, {"k": value})
    await start(store, {"k": "another"})
    page = await store.sandboxes.list({"k": value})
    assert [(record.id, dict(record.labels)) for record in page.records] == [(sandbox_id, {"k": value})]


@pytest.mark.parametrize("cursor", ["x", "-1", "1; DROP TABLE sandboxes", "9" * 40, "²"])
async def test_a_foreign_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(InvalidSpec, match="cursor"):
        await store.sandboxes.list(after=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_size_out_of_range_is_refused(store: Store, limit: int) -> None:
    with pytest.raises(InvalidSpec, match="limit"):
        await store.sandboxes.list(limit=limit)


async def test_stop_all_ends_only_what_is_alive(store: Store) -> None:
    done, running, starting = await start(store), await start(store), await start(store)
    await store.sandboxes.put_stopped(done, StopReason.KILLED, 5)
    await store.sandboxes.put_running(running, accelerator="tcg", image_digest="sha256:ab")
    assert set(await store.sandboxes.stop_all(StopReason.RECONCILED, 9)) == {running, starting}
    assert await store.sandboxes.stop_all(StopReason.RECONCILED, 10) == []
    assert (await store.sandboxes.get(done)).stop_reason is StopReason.KILLED
    assert (await store.sandboxes.get(running)).stopped_at_ms == 9


async def test_many_at_once_are_all_kept_in_order(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(start(store)) for _ in range(200)]
    listed = (await store.sandboxes.list(limit=1000)).records
    assert [record.id for record in listed] == [task.result() for task in tasks][::-1]


async def test_a_cancelled_caller_leaves_the_store_usable(store: Store) -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(start(store))
        await asyncio.sleep(0)
        task.cancel()
    assert len((await store.sandboxes.list()).records) == 1
