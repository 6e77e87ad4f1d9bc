"""The batch processor: order, bounds, partial failures, costs by batch, and savings with the right sign."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.guard.plain_guard import PlainGuard
from tests.producers.reading import read_topic

from costledger.producers import CostTracker
from costledger.producers.optimiser.batch_report import BatchReport
from costledger.producers.optimiser.batches import Batch, BatchProcessor
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.results import result_of
from costledger.producers.optimiser.work import OperationWork
from costledger.schemas.codec import decode_cost_event
from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import to_picodollars

NOBODY = "127.0.0.1:9"
FLUSH_SECONDS = 30.0
WAIT_SECONDS = 30.0
Function = Callable[[Batch[int]], Sequence[Any]]
Runner = Callable[..., BatchReport[Any]]


@pytest.fixture(params=["threads", "asyncio"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """`run` with a plain function, or `run_async` with the same function made async."""

    def in_threads(processor: BatchProcessor, items: Any, function: Function, **rest: Any) -> BatchReport[Any]:
        return processor.run(items, function, **rest)

    def in_asyncio(processor: BatchProcessor, items: Any, function: Function, **rest: Any) -> BatchReport[Any]:
        async def later(batch: Batch[int]) -> Sequence[Any]:
            await asyncio.sleep(0)
            return function(batch)

        return asyncio.run(processor.run_async(items, later, **rest))

    return in_threads if request.param == "threads" else in_asyncio


def usd(text: str) -> int:
    """USD as 1e-12 USD."""
    return to_picodollars(text)


def doubled(batch: Batch[int]) -> list[int]:
    """One paid image for each item."""
    for _ in batch.items:
        batch.track_rekognition(batch.user_id, "detectLabels", 1)
    return [item * 2 for item in batch.items]


def single_image(_: int) -> OperationWork:
    """What one item would be singly."""
    return OperationWork("aws-rekognition", "detectLabels")


def test_items_are_taken_in_batches_of_25_and_their_order_is_kept(tracker: CostTracker, runner: Runner) -> None:
    """60 items: 25, 25 and 10; each batch knows what it has cost."""
    report = runner(BatchProcessor(tracker, "u"), iter(range(60)), doubled)
    assert report.values == [item * 2 for item in range(60)]
    assert [(item.index, item.batch) for item in report.items] == [(index, index // 25) for index in range(60)]
    assert [(batch.items, batch.spend.known) for batch in report.batches] == [
        (25, usd("0.025")),
        (25, usd("0.025")),
        (10, usd("0.010")),
    ]
    assert (report.cost, report.failed, report.is_complete) == (usd("0.060"), (), True)
    assert (report.saving, report.saving_text) == (None, "not measured: nothing says what a single item would cost")
    assert tracker.stats()["tracked"] == 60


def test_three_batches_run_at_once_in_threads(tracker: CostTracker) -> None:
    """Three meet, and there is never a fourth."""
    meeting = threading.Barrier(3, timeout=WAIT_SECONDS)
    count = Counted()

    def function(batch: Batch[int]) -> list[int]:
        with count:
            meeting.wait()
        return list(batch.items)

    report = BatchProcessor(tracker, "u").run(range(25 * 9), function)
    assert report.values == list(range(225))
    assert count.highest == 3


def test_three_batches_run_at_once_in_asyncio(tracker: CostTracker) -> None:
    """The same for tasks."""
    count = Counted()
    three_are_there = asyncio.Event()

    async def function(batch: Batch[int]) -> list[int]:
        with count:
            if count.now == 3:
                three_are_there.set()
            await asyncio.wait_for(three_are_there.wait(), WAIT_SECONDS)
            await asyncio.sleep(0)
        return list(batch.items)

    report = asyncio.run(BatchProcessor(tracker, "u").run_async(range(25 * 9), function))
    assert report.values == list(range(225))
    assert count.highest == 3


def test_what_batches_save_is_measured_and_recorded(kafka: KafkaServer) -> None:
    """25 texts of 30 characters: singly 25 begun hundreds, 0.0025; together 750 characters, 0.0008."""
    topic = kafka.create_topic(kafka.unique("events"))

    def function(batch: Batch[str]) -> list[str]:
        batch.track_comprehend("u", "detectSentiment", sum(len(text) for text in batch.items))
        return ["fine"] * len(batch.items)

    def single(text: str) -> OperationWork:
        return OperationWork("aws-comprehend", "detectSentiment", len(text), unit="character")

    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        report = BatchProcessor(tracker, "u").run(["x" * 30] * 25, function, one_by_one=single)
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert (report.one_by_one, report.cost, report.saving) == (usd("0.0025"), usd("0.0008"), usd("0.0017"))
    assert report.saving_text == "0.0017 USD saved against one by one"
    events = [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]
    (saving,) = [event for event in events if event.service == "costledger"]
    assert (saving.operation, saving.unit, saving.amount) == ("saved:batch_processing", "mUSD", 0)
    assert saving.quantity == usd("0.0017")
    assert saving.metadata == {"items": "25", "batches": "1"}


def test_batches_that_cost_more_say_so(tracker: CostTracker, runner: Runner) -> None:
    """An upload for each batch, 0.000005, and nothing saved by it: two batches cost 0.00001 more."""

    def function(batch: Batch[int]) -> list[int]:
        batch.track_s3("u", "put", 1)
        return doubled(batch)

    report = runner(BatchProcessor(tracker, "u"), range(50), function, one_by_one=single_image)
    assert (report.one_by_one, report.saving) == (usd("0.05"), usd("-0.00001"))
    assert report.saving_text == "0.00001 USD more than one by one"
    assert tracker.stats()["tracked"] == 50 + 2 + 1


def test_a_saving_that_cannot_be_told_takes_neither_report_nor_error_away(runner: Runner, caplog: Any) -> None:
    """A strict tracker that was closed raises: it is logged, and an interruption stays one."""
    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0, strict=True) as tracker:
        tracker.close()
        report = runner(
            BatchProcessor(tracker, "u"), range(3), lambda batch: list(batch.items), one_by_one=single_image
        )
        assert report.saving == 3 * usd("0.001")

        def interrupt(batch: Batch[int]) -> list[int]:
            if batch.index == 1:
                raise KeyboardInterrupt
            return list(batch.items)

        processor = BatchProcessor(tracker, "u", batch_items=1, batches_at_once=1)
        with pytest.raises(KeyboardInterrupt):
            runner(processor, range(3), interrupt, one_by_one=single_image)
    assert caplog.text.count("what batches have saved u could not be told") == 2


def test_batches_that_save_nothing_record_nothing(tracker: CostTracker, runner: Runner) -> None:
    """A saving of 0 is told in the report alone; no items, no saving."""
    report = runner(BatchProcessor(tracker, "u"), range(3), doubled, one_by_one=single_image)
    assert (report.saving, report.saving_text) == (0, "as much as one by one")
    assert tracker.stats()["tracked"] == 3
    empty = runner(BatchProcessor(tracker, "u"), [], doubled, one_by_one=single_image)
    assert (empty.values, empty.batches, empty.saving, empty.cost) == ([], (), 0, 0)


def test_a_failure_leaves_the_other_items_and_batches_alone(
    tracker: CostTracker, runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """One item fails, one batch raises half-way, one gives too few results: each is told, and what it has cost counts."""

    def function(batch: Batch[int]) -> list[Any]:
        results: list[Any] = list(doubled(batch))
        if batch.index == 0:
            results[1] = KeyError("item 1")
        if batch.index == 1:
            raise ConnectionError("away")
        return results[:-1] if batch.index == 2 else results

    processor = BatchProcessor(tracker, "u", batch_items=2)
    with caplog.at_level(logging.WARNING):
        report = runner(processor, range(8), function, one_by_one=single_image)
    assert report.values == [0, None, None, None, None, None, 12, 14]
    assert [type(item.error) for item in report.failed] == [
        KeyError,
        ConnectionError,
        ConnectionError,
        InvalidValue,
        InvalidValue,
    ]
    assert "results of batch 2 is '1 results'; it must be one for each of its 2 items" in str(report.items[4].error)
    assert [type(batch.error) for batch in report.batches] == [type(None), ConnectionError, InvalidValue, type(None)]
    assert "batch 1 of u failed: ConnectionError: away" in caplog.text
    # Three items were done, 0.003; all eight were paid.
    assert (report.one_by_one, report.cost, report.saving) == (usd("0.003"), usd("0.008"), usd("-0.005"))


@pytest.mark.parametrize(
    ("spend", "single", "text"),
    [
        ("nobody", single_image, "not known: some calls have no known cost"),
        ("aws-s3", lambda _: OperationWork("nobody", "get"), "not known: a single item costs at least 0.00 USD: no"),
        ("aws-s3", lambda _: 1 // 0, "not known: ZeroDivisionError"),
    ],
)
def test_a_saving_that_is_not_known_is_not_made_up(
    tracker: CostTracker, runner: Runner, spend: str, single: Any, text: str
) -> None:
    """Neither an unpriced call nor an unpriced estimate is 0, and an error in it does not lose the report."""

    def function(batch: Batch[int]) -> list[int]:
        batch.track("u", spend, "get", 1)
        return list(batch.items)

    report = runner(BatchProcessor(tracker, "u"), range(2), function, one_by_one=single)
    assert (report.values, report.saving) == ([0, 1], None)
    assert report.saving_text.startswith(text)
    assert tracker.stats()["tracked"] == 1


@pytest.mark.parametrize("items", [25, 25 * 100])
def test_ctrl_c_ends_the_run_without_leaving_a_thread(tracker: CostTracker, items: int) -> None:
    """The batches that run are awaited, no further one begins, and the interruption carries the report."""
    main = threading.main_thread().ident
    assert main is not None

    def function(batch: Batch[int]) -> list[int]:
        if batch.index == 0:
            signal.pthread_kill(main, signal.SIGINT)
        assert wait_for(lambda: batch.stopping)
        return doubled(batch)

    with pytest.raises(KeyboardInterrupt) as caught:
        BatchProcessor(tracker, "u").run(range(items), function)
    assert threads_of_batches() == []
    report = result_of(caught.value)
    assert len(report.batches) <= 3
    assert report.cost == usd("0.025") * len(report.batches)


def test_an_exit_within_a_batch_ends_the_run(tracker: CostTracker, runner: Runner) -> None:
    """What is no `Exception` is nobody's partial failure."""

    def function(batch: Batch[int]) -> list[int]:
        doubled(batch)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        runner(BatchProcessor(tracker, "u"), range(1000), function)
    assert threads_of_batches() == []


def test_a_cancelled_run_cancels_its_batches_and_awaits_them(tracker: CostTracker) -> None:
    """Each of the three has its end, no fourth begins, and what they spent is in the report."""
    ends: list[int] = []
    three_are_there = asyncio.Event()

    async def function(batch: Batch[int]) -> list[int]:
        doubled(batch)
        if batch.index == 2:
            three_are_there.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(batch.index)
        return []

    async def scene() -> None:
        task = asyncio.create_task(BatchProcessor(tracker, "u").run_async(range(1000), function))
        await asyncio.wait_for(three_are_there.wait(), WAIT_SECONDS)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        report = result_of(caught.value)
        assert sorted(ends) == [0, 1, 2] == [batch.index for batch in report.batches]
        assert report.cost == usd("0.075")
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())


def test_batches_within_a_job_are_part_of_its_spend(tracker: CostTracker) -> None:
    """The job's total is the sum of the batches', and so is what the guard is told."""
    guard = PlainGuard(usd("10"))
    work = OperationWork("aws-rekognition", "detectLabels", 60)
    with CostAwareProcessor(tracker, guard).job("u", work) as job:
        report = BatchProcessor(job, job.user_id).run(range(60), doubled)
    assert (job.result.total, report.cost, job.result.efficiency) == (usd("0.06"), usd("0.06"), 1)
    assert [entry[2] for entry in guard.settled] == [usd("0.06")]
    assert tracker.stats()["tracked"] == 60


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"batch_items": 0}, "batch_items is 0; it must be a whole number from 1 to 10000"),
        ({"batch_items": Decimal(5)}, "batch_items is 5"),
        ({"batches_at_once": 65}, "batches_at_once is 65; it must be a whole number from 1 to 64"),
        ({"items_max": True}, "items_max is True"),
    ],
)
def test_bounds_out_of_bounds_are_refused(tracker: CostTracker, bounds: Any, message: str) -> None:
    """By name, value and limit."""
    with pytest.raises(InvalidValue, match=message):
        BatchProcessor(tracker, "u", **bounds)


def test_a_run_of_too_many_items_stops_at_the_bound(tracker: CostTracker, runner: Runner) -> None:
    """What was done before is told with the error."""
    with pytest.raises(InvalidValue, match="at most 50 in one run") as caught:
        runner(BatchProcessor(tracker, "u", items_max=50), range(51), doubled)
    assert 0 < len(result_of(caught.value).items) <= 50


def threads_of_batches() -> list[threading.Thread]:
    """Those that are still there."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("costledger-batch")]


def test_the_end_of_a_run_cancels_the_batches_that_still_run(tracker: CostTracker) -> None:
    """Here the third batch is one too many, while the first two would wait for ever."""

    async def function(batch: Batch[int]) -> list[int]:
        await asyncio.Event().wait()
        return []

    async def scene() -> None:
        run = BatchProcessor(tracker, "u", items_max=50).run_async(range(51), function)
        with pytest.raises(InvalidValue) as caught:
            await asyncio.wait_for(run, WAIT_SECONDS)
        assert [type(batch.error) for batch in result_of(caught.value).batches] == [asyncio.CancelledError] * 2
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(scene())


class Counted:
    """How many are within a block at once, and the most there ever were."""

    def __init__(self) -> None:
        self.now = 0
        self.highest = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.highest = max(self.highest, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def wait_for(condition: Callable[[], bool]) -> bool:
    """Within a thread of a batch: the deadline helper, as a truth value."""
    from tests.fixtures.wait import wait_until

    return bool(wait_until(condition, WAIT_SECONDS, "the run is stopping"))
