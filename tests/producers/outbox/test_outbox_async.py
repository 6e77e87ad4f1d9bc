"""The asyncio variant: gathered in a block, written when it ends, inside the caller's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection
from tests.producers.outbox.outbox_cases import NOBODY, Service, identity_holds

from costledger.producers import CostTracker, EventDropped

ORDER = "INSERT INTO orders (event_id) VALUES (%s)"
Work = Callable[[AsyncConnection[Any]], Coroutine[Any, Any, None]]


@pytest.fixture
def tracker(errors: list[EventDropped]) -> Iterator[CostTracker]:
    """A service's tracker."""
    with CostTracker(NOBODY, "tests", "outbox", on_error=errors.append) as tracker:
        yield tracker
        assert identity_holds(tracker)


def run(service: Service, work: Work, **options: Any) -> None:
    """Run the work with a connection of its own."""

    async def connected() -> None:
        connection = await AsyncConnection.connect(service.url, **{"autocommit": True, **options})
        async with connection:
            await work(connection)

    asyncio.run(connected())


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_blocks_events_are_written_at_its_end_and_committed_with_the_rest(
    service: Service, tracker: CostTracker, errors: list[EventDropped], pipelined: bool
) -> None:
    """Ids come back at once; nothing is sent before the block ends; each event arrives once."""
    ids: list[UUID] = []

    async def gather(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction(), tracker.using_async(connection) as costs:
            ids.append(costs.track_s3("u", "get", 1))
            await connection.execute(ORDER, (ids[0],))
            ids.extend(costs.track_chat("u", "gpt-4o", 10, 1))
            assert tracker.stats()["tracked"] == 0
        assert service.waiting() == ids

    async def work(connection: AsyncConnection[Any]) -> None:
        if pipelined:
            async with connection.pipeline():
                await gather(connection)
        else:
            await gather(connection)

    run(service, work)
    assert errors == []
    assert (tracker.stats()["spooled"], len(ids)) == (3, 3)
    service.relay_all()
    assert service.on_topic() == dict.fromkeys(ids, 1)


def test_a_block_that_raises_writes_nothing(service: Service, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """Its events are dropped as `rolled_back`, and the error is the caller's; a later block is not touched."""

    async def work(connection: AsyncConnection[Any]) -> None:
        async def order_what_is_sold_out() -> None:
            async with connection.transaction(), tracker.using_async(connection) as costs:
                await connection.execute(ORDER, (costs.track_s3("u", "get", 1),))
                raise RuntimeError("no stock")

        with pytest.raises(RuntimeError, match="no stock"):
            await order_what_is_sold_out()
        async with connection.transaction(), tracker.using_async(connection) as costs:
            await connection.execute(ORDER, (costs.track_s3("u", "get", 1),))

    run(service, work)
    assert [error.reason for error in errors] == ["rolled_back"]
    assert (tracker.stats()["dropped"], tracker.stats()["spooled"]) == (1, 1)
    assert service.waiting() == service.orders()
    assert len(service.orders()) == 1


def test_a_transaction_rolled_back_after_its_block_takes_the_rows_with_it(
    service: Service, tracker: CostTracker
) -> None:
    """Nobody can tell the tracker: the event stays counted as spooled, and never arrives."""

    async def work(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction(force_rollback=True), tracker.using_async(connection) as costs:
            costs.track_s3("u", "get", 1)

    run(service, work)
    assert service.waiting() == []
    assert tracker.stats()["spooled"] == 1


def test_a_cancelled_task_writes_nothing(service: Service, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """A client that hangs up cancels the block: it is as if it had raised."""

    async def work(connection: AsyncConnection[Any]) -> None:
        inside = asyncio.Event()

        async def block() -> None:
            async with connection.transaction(), tracker.using_async(connection) as costs:
                costs.track_s3("u", "get", 1)
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await (await connection.execute("SELECT 1")).fetchone()) == (1,)

    run(service, work)
    assert [error.reason for error in errors] == ["rolled_back"]
    assert service.waiting() == []


@pytest.mark.parametrize("autocommit", [True, False])
def test_a_missing_table_spoils_no_transaction(
    service: Service, tracker: CostTracker, errors: list[EventDropped], autocommit: bool
) -> None:
    """The order is committed all the same; a strict tracker raises, and takes it along."""
    with service.connect() as connection:
        connection.execute("DROP TABLE costledger_outbox")

    async def work(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction(), tracker.using_async(connection) as costs:
            await connection.execute(ORDER, (costs.track_s3("u", "get", 1),))
        async with tracker.using_async(connection) as costs:
            costs.track_s3("u", "get", 1)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with CostTracker(NOBODY, "tests", "outbox", strict=True) as strict, pytest.raises(EventDropped):
            async with connection.transaction(), strict.using_async(connection) as costs:
                await connection.execute(ORDER, (costs.track_s3("u", "get", 1),))

    run(service, work, autocommit=autocommit)
    assert [error.reason for error in errors] == ["outbox_failed"] * 2
    assert len(service.orders()) == 1


def test_an_implicit_transaction_is_committed_by_the_caller(service: Service, tracker: CostTracker) -> None:
    """Without autocommit the block may be the first in its transaction."""

    async def work(connection: AsyncConnection[Any]) -> None:
        async with tracker.using_async(connection) as costs:
            costs.track_s3("u", "get", 1)
        assert service.waiting() == []
        await connection.commit()
        assert len(service.waiting()) == 1

    run(service, work, autocommit=False)


def test_a_pipelines_own_failure_is_raised(service: Service, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """As in the synchronous variant: a failed statement of the caller's is not hidden."""

    async def work(connection: AsyncConnection[Any]) -> None:
        async def divide_and_track() -> None:
            async with connection.pipeline(), connection.transaction(), tracker.using_async(connection) as costs:
                await connection.execute("SELECT 1 / 0")
                costs.track_s3("u", "get", 1)

        with pytest.raises(psycopg.errors.DivisionByZero):
            await divide_and_track()

    run(service, work)
    assert [error.reason for error in errors] == ["outbox_failed"]


def test_a_block_is_bounded_and_ends(service: Service, errors: list[EventDropped]) -> None:
    """At most `queue_events_max` events a block; none outside of it."""
    with CostTracker(NOBODY, "tests", "outbox", queue_events_max=3, on_error=errors.append) as tracker:

        async def work(connection: AsyncConnection[Any]) -> None:
            gathering = tracker.using_async(connection)
            gathering.track_s3("u", "get", 1)
            async with connection.transaction(), gathering as costs:
                for _ in range(5):
                    costs.track_s3("u", "get", 1)
            costs.track_s3("u", "get", 1)

        run(service, work)
        assert tracker.stats()["spooled"] == 3
        assert identity_holds(tracker)
    assert [error.reason for error in errors] == ["closed", "queue_full", "queue_full", "closed"]
    assert len(service.waiting()) == 3


def test_many_events_of_a_block_keep_their_order(service: Service, tracker: CostTracker) -> None:
    """A thousand events in one block: the ids of the rows follow the calls."""
    ids: list[UUID] = []

    async def work(connection: AsyncConnection[Any]) -> None:
        async with connection.transaction(), tracker.using_async(connection) as costs:
            ids.extend(costs.track_s3("u", "get", 1) for _ in range(1000))

    run(service, work)
    assert service.waiting() == ids
