"""The batch processor: items in batches, some at once, in threads or in asyncio.

Order is kept, a failure of one item or batch leaves the others alone, and what the calls of each batch have cost
is known.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar

from costledger.producers.optimiser.batch_report import BatchOutcome, BatchReport, ItemOutcome, cost_of, saving_text
from costledger.producers.optimiser.estimates import Estimate
from costledger.producers.optimiser.plans import Plan
from costledger.producers.optimiser.recording import AnyTracker, SpendRecorder
from costledger.producers.optimiser.results import attach_result
from costledger.producers.optimiser.work import Work
from costledger.producers.optimiser.workers import WorkerThreads
from costledger.producers.savings import BATCH_PROCESSING, record_saving
from costledger.schemas.errors import InvalidValue

logger = logging.getLogger(__name__)
I = TypeVar("I")  # noqa: E741 - an item
R = TypeVar("R")

BATCH_ITEMS: Final = 25
BATCHES_AT_ONCE: Final = 3
ITEMS_MAX: Final = 1_000_000
BATCH_ITEMS_LIMIT: Final = 10_000
BATCHES_AT_ONCE_LIMIT: Final = 64


class Batch(SpendRecorder, Generic[I]):
    """Some items, and a tracker for what the calls for them cost.

    `index` counts batches from 0. `stopping` turns true when the run is to end: a function that works for long may
    look at it and raise.
    """

    def __init__(
        self, tracker: AnyTracker, user_id: str, index: int, items: Sequence[I], stop: threading.Event
    ) -> None:
        super().__init__(tracker, user_id)
        self.index: Final = index
        self.items: Final = tuple(items)
        self._stop = stop

    @property
    def stopping(self) -> bool:
        """True once the run was interrupted or cancelled."""
        return self._stop.is_set()


class BatchProcessor:
    """Runs a user's items in batches of `batch_items`, `batches_at_once` at a time. Safe to use from many threads.

    `tracker` is a `CostTracker`, or a job of the cost-aware processor: then all is part of that job. `plan` is the
    one by which single items are estimated. `InvalidValue` for bounds out of bounds.
    """

    def __init__(
        self,
        tracker: AnyTracker,
        user_id: str,
        *,
        batch_items: int = BATCH_ITEMS,
        batches_at_once: int = BATCHES_AT_ONCE,
        items_max: int = ITEMS_MAX,
        plan: Plan | None = None,
    ) -> None:
        _check_bound("batch_items", batch_items, BATCH_ITEMS_LIMIT)
        _check_bound("batches_at_once", batches_at_once, BATCHES_AT_ONCE_LIMIT)
        _check_bound("items_max", items_max, ITEMS_MAX)
        self._tracker = tracker
        self._user_id = user_id
        self._batch_items = batch_items
        self._batches_at_once = batches_at_once
        self._items_max = items_max
        self._plan = plan

    def run(
        self,
        items: Iterable[I],
        function: Callable[[Batch[I]], Sequence[R | Exception]],
        *,
        one_by_one: Callable[[I], Work] | None = None,
    ) -> BatchReport[R]:
        """Call `function(batch)` for each batch in a thread; it returns a value, or an exception, for each item.

        What it raises is the error of all items of its batch. `one_by_one` says what work a single item would
        have been: with it the saving is measured and recorded. An interruption (Ctrl-C) begins no further batch,
        waits for those that run, so that no thread stays behind, and goes on with the report (`result_of`).
        """
        run: _Run[I, R] = _Run(self._items_max)
        try:
            with WorkerThreads(
                self._batches_at_once, partial(run.call, function=function), "costledger-batch"
            ) as workers:
                try:
                    for batch in self._batches(items, run):
                        workers.give(batch)
                    workers.finish()
                except BaseException:
                    run.stop.set()
                    raise
        except BaseException as error:
            run.stop.set()
            attach_result(error, self._report(run, one_by_one))
            raise
        return self._report(run, one_by_one)

    async def run_async(
        self,
        items: Iterable[I],
        function: Callable[[Batch[I]], Awaitable[Sequence[R | Exception]]],
        *,
        one_by_one: Callable[[I], Work] | None = None,
    ) -> BatchReport[R]:
        """The same for an async function, in tasks; a cancellation cancels the batches that run and awaits their end."""
        run: _Run[I, R] = _Run(self._items_max)
        batches = self._batches(items, run)

        async def work() -> None:
            for batch in batches:
                await run.call_async(batch, function)

        workers = [asyncio.ensure_future(work()) for _ in range(self._batches_at_once)]
        try:
            await asyncio.gather(*workers)
        except BaseException as error:
            run.stop.set()
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            attach_result(error, self._report(run, one_by_one))
            raise
        return self._report(run, one_by_one)

    def _batches(self, items: Iterable[I], run: _Run[I, R]) -> Iterator[Batch[I]]:
        """The batches, cut when they are asked for; none once the run is stopping."""
        left = iter(items)
        for index in itertools.count():
            part = list(itertools.islice(left, self._batch_items))
            if not part or run.stop.is_set():
                return
            run.take(len(part))
            yield Batch(self._tracker, self._user_id, index, part, run.stop)

    def _report(self, run: _Run[I, R], one_by_one: Callable[[I], Work] | None) -> BatchReport[R]:
        outcomes, batches = run.outcomes()
        single, text = self._one_by_one(run, one_by_one)
        cost = cost_of(batches)
        saving = None
        if single is not None:
            saving = None if cost is None else single - cost
            text = "not known: some calls have no known cost" if saving is None else saving_text(saving)
        if saving:
            metadata = {"items": len(outcomes), "batches": len(batches)}
            try:
                record_saving(self._tracker, self._user_id, BATCH_PROCESSING, saving, metadata=metadata)
            except Exception:
                # A strict tracker must take neither the report away nor the error that the run ends with.
                logger.exception("what batches have saved %s could not be told", self._user_id)
        return BatchReport(items=outcomes, batches=batches, one_by_one=single, saving=saving, saving_text=text)

    def _one_by_one(self, run: _Run[I, R], work_of: Callable[[I], Work] | None) -> tuple[int | None, str]:
        """What the items that were done would have cost singly; None with the reason where that is not known."""
        if work_of is None:
            return None, "not measured: nothing says what a single item would cost"
        at, book, total = datetime.now(UTC), self._tracker.price_book, 0
        try:
            for item in run.done():
                estimate: Estimate = work_of(item).estimate(book, at, self._plan)
                if not estimate.is_complete:
                    return None, f"not known: a single item costs {estimate.text}"
                total += estimate.total
        except Exception as error:
            # The batches are done and paid: their report must not be lost to this.
            logger.exception("the cost of single items could not be estimated, so the saving is not known")
            return None, f"not known: {type(error).__name__}: {error}"
        return total, ""


class _Run(Generic[I, R]):
    """One run: what came of each batch so far. Each batch writes its own places alone."""

    def __init__(self, items_max: int) -> None:
        self.stop: Final = threading.Event()
        self._items_max = items_max
        self._items = 0
        self._begun: dict[int, tuple[Batch[I], Sequence[R | BaseException] | BaseException]] = {}

    def take(self, count: int) -> None:
        """Count items in; raises `InvalidValue` beyond the bound."""
        self._items += count
        if self._items > self._items_max:
            raise InvalidValue("items", f"{self._items} or more items", f"at most {self._items_max} in one run")

    def call(self, batch: Batch[I], function: Callable[[Batch[I]], Sequence[R | Exception]]) -> None:
        """Run one batch; what is no `Exception` ends the whole run."""
        if self.stop.is_set():
            return
        try:
            self._begun[batch.index] = batch, _one_each(batch, function(batch))
        except Exception as error:  # noqa: BLE001 - told and logged; the other batches go on
            self._failed(batch, error)
        except BaseException as error:
            self._failed(batch, error)
            raise

    async def call_async(
        self, batch: Batch[I], function: Callable[[Batch[I]], Awaitable[Sequence[R | Exception]]]
    ) -> None:
        """The same for an async function."""
        try:
            self._begun[batch.index] = batch, _one_each(batch, await function(batch))
        except Exception as error:  # noqa: BLE001 - told and logged; the other batches go on
            self._failed(batch, error)
        except BaseException as error:
            self._failed(batch, error)
            raise

    def outcomes(self) -> tuple[tuple[ItemOutcome[R], ...], tuple[BatchOutcome, ...]]:
        """Of all items and batches that were begun, in order."""
        items: list[ItemOutcome[R]] = []
        batches = []
        for index, (batch, results) in sorted(self._begun.items()):
            failure = results if isinstance(results, BaseException) else None
            batches.append(BatchOutcome(index=index, items=len(batch.items), spend=batch.spend(), error=failure))
            for result in self._results(batch, results):
                place: dict[str, Any] = {"index": len(items), "batch": index}
                if isinstance(result, BaseException):
                    items.append(ItemOutcome(**place, error=result))
                else:
                    items.append(ItemOutcome(**place, value=result))
        return tuple(items), tuple(batches)

    def done(self) -> Iterator[I]:
        """The items that have a value."""
        for batch, results in self._begun.values():
            for item, result in zip(batch.items, self._results(batch, results), strict=True):
                if not isinstance(result, BaseException):
                    yield item

    def _failed(self, batch: Batch[I], error: BaseException) -> None:
        self._begun[batch.index] = batch, error
        logger.warning("batch %d of %s failed: %s: %s", batch.index, batch.user_id, type(error).__name__, error)

    @staticmethod
    def _results(batch: Batch[I], results: Sequence[R | BaseException] | BaseException) -> Sequence[R | BaseException]:
        return [results] * len(batch.items) if isinstance(results, BaseException) else results


def _one_each(batch: Batch[Any], results: Sequence[R | BaseException]) -> Sequence[R | BaseException]:
    """The results as a list; raises `InvalidValue` where there is not one for each item: none could be matched."""
    found = list(results)
    if len(found) != len(batch.items):
        limit = f"one for each of its {len(batch.items)} items"
        raise InvalidValue(f"results of batch {batch.index}", f"{len(found)} results", limit)
    return found


def _check_bound(name: str, value: int, limit: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
        raise InvalidValue(name, value, f"a whole number from 1 to {limit}")
