"""The pool's decisions. Its machines are stand-ins: what real ones do is in tests/vm/test_vmm.py."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from tests.unit.vmm.waiting import until

from atoll.model.errors import LaunchFailed, LinkLost
from atoll.vmm.machine import Machine
from atoll.vmm.pool import Pool


class StandIn:
    def __init__(self) -> None:
        self.link = self
        self.said: list[str] = []
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.resume_error: Exception | None = None
        self.warm_error: Exception | None = None

    async def request(self, method: str, params: dict[str, Any]) -> None:
        self.said.append(method)
        if self.warm_error:
            raise self.warm_error

    async def pause(self) -> None:
        self.said.append("pause")

    async def resume(self) -> None:
        self.said.append("resume")
        if self.resume_error:
            raise self.resume_error

    async def destroy(self) -> None:
        self.said.append("destroy")
        if not self.exited.done():
            self.exited.set_result(None)


class Stuck(StandIn):
    async def request(self, method: str, params: dict[str, Any]) -> None:
        await asyncio.Event().wait()


class Nursery:
    """Makes stand-ins and remembers them."""

    def __init__(self, failures: int = 0) -> None:
        self.made: list[StandIn] = []
        self.failures = failures
        self.active = 0

    async def restore(self) -> Machine:
        self.active += 1
        assert self.active == 1, "one at a time"
        await asyncio.sleep(0)
        self.active -= 1
        if self.failures:
            self.failures -= 1
            raise LaunchFailed("not now")
        self.made.append(StandIn())
        return cast(Machine, self.made[-1])


@pytest.fixture
async def nursery() -> Nursery:
    return Nursery()


async def test_it_fills_claims_and_refills(nursery: Nursery) -> None:
    pool = Pool(2, nursery.restore)
    assert await pool.claim() is None
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        await pool.wait_full()
        assert [machine.said for machine in nursery.made] == [["warm", "pause"]] * 2
        claimed = await pool.claim()
        assert cast(Any, claimed) is nursery.made[0]
        await pool.wait_full()
        assert len(nursery.made) == 3
        await pool.close()
    assert [machine.said[-1] for machine in nursery.made] == ["resume", "destroy", "destroy"]


async def test_failures_are_tried_again(nursery: Nursery) -> None:
    nursery.failures = 3
    pool = Pool(1, nursery.restore, backoff_s=0.001)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        await pool.wait_full()
        await pool.close()
    assert nursery.failures == 0


async def test_one_that_died_in_the_pool_is_never_claimed(nursery: Nursery) -> None:
    pool = Pool(1, nursery.restore)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        await pool.wait_full()
        nursery.made[0].exited.set_result(None)
        await until(lambda: len(nursery.made) >= 2)
        await pool.wait_full()
        assert nursery.made[0].said[-1] == "destroy"
        assert cast(Any, await pool.claim()) is nursery.made[1]
        await pool.close()


async def test_one_that_does_not_resume_is_passed_over(nursery: Nursery) -> None:
    pool = Pool(2, nursery.restore)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(pool.run())
        await pool.wait_full()
        nursery.made[0].resume_error = LinkLost("gone")
        assert cast(Any, await pool.claim()) is nursery.made[1]
        await pool.close()
    assert nursery.made[0].said[-1] == "destroy"


async def test_cancelled_in_the_middle_nothing_is_left() -> None:
    machine: Stuck | None = None

    async def restore() -> Machine:
        nonlocal machine
        machine = Stuck()
        return cast(Machine, machine)

    pool = Pool(1, restore)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(pool.run())
        await until(lambda: machine is not None)
        await asyncio.sleep(0)
        task.cancel()
    await pool.close()
    assert machine is not None
    assert machine.said == ["destroy"]
