"""Rate the ledger's entries again: joins the ledger's pages, the price book and the tracker.

Page by page: what changes is computed, the reversing entries are posted and acknowledged, then the new ones. Whoever
dies between the two leaves a call taken back, which the next run sees (the reversing entry's id is derived from the
original's) and completes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final, Literal

from costledger.deploy.publishing import require_topic
from costledger.deploy.rerating_report import Rerating
from costledger.producers.prices import PriceBook
from costledger.producers.rerating import (
    RERATED_FROM_KEY,
    Correction,
    completed,
    new_entry_id,
    rerate,
    reversal_id,
)
from costledger.schemas.errors import Unavailable
from costledger.schemas.events import EventRecord
from costledger.schemas.settings import Settings
from costledger.sinks.candidates import (
    PAGE_ENTRIES,
    Candidate,
    Window,
    alone,
    candidates,
    database_time,
    ids_in_ledger,
    recorded_since,
)
from costledger.sinks.database import Connection, connect
from costledger.sinks.lag import wait_until_written
from costledger.sinks.reconcile.topic import TopicReader

if TYPE_CHECKING:
    from costledger.producers import EventDropped

#: A page may be far in the ledger: one statement may read a whole window.
STATEMENT_SECONDS_MAX: Final = 4 * 3600.0
_DROPS_SHOWN_MAX: Final = 3
#: Short, so that a signal is noticed.
_FLUSH_STEP_SECONDS: Final = 0.5

#: The moments of a run; a test can stop the process at each of them.
Step = Literal["before_reversals", "between", "after_entries"]


def rerate_ledger(
    settings: Settings,
    window: Window,
    book: PriceBook,
    *,
    dry_run: bool,
    wait_seconds: float,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[Rerating], None] = lambda _so_far: None,
    tell: Callable[[str], None] = lambda _line: None,
    on_step: Callable[[Step], None] = lambda _step: None,
) -> Rerating:
    """Rate the entries of a window again, and unless `dry_run` post the corrections.

    The sink gets up to `wait_seconds` to catch up, before (not in a dry run) and after. `stop` is asked between
    pages, `progress` is called after each, and `tell` gets what people should know meanwhile. Raises `Unavailable` where Kafka does not confirm what was posted or another run is at work, or the
    libraries' errors where a part cannot be asked; whatever was posted by then stays, and the next run goes on from
    there.
    """
    topic = settings.topics.events
    require_topic(settings, topic)
    result = Rerating(window, book.version, dry_run)
    with ExitStack() as cleanup:
        url = settings.database_url.get_secret_value()
        connection = cleanup.enter_context(connect(url, "costledger rerate", STATEMENT_SECONDS_MAX))
        reader = cleanup.enter_context(closing(TopicReader(settings, topic)))
        if not dry_run:
            cleanup.enter_context(alone(connection))
        started = database_time(connection)
        waited = 0 if dry_run else wait_seconds
        result.lag_before = _await_sink(connection, reader, topic, waited, result, stop)
        if result.lag_before:
            tell(
                f"the ledger lacks {result.lag_before} events of the topic: they are not looked at; run this again once "
                "the sink has caught up"
            )
        poster = None if dry_run else cleanup.enter_context(closing(Poster(settings, book)))
        _rerate_pages(connection, result, book, poster, stop, progress, on_step)
        if result.posted:
            tell(f"posted {result.posted} events; waiting up to {wait_seconds:g} s for the sink")
            result.lag_after = _await_sink(connection, reader, topic, wait_seconds, result, stop)
            result.recorded = recorded_since(connection, window, started, RERATED_FROM_KEY)
    return result


def _await_sink(
    connection: Connection,
    reader: TopicReader,
    topic: str,
    timeout_seconds: float,
    result: Rerating,
    stop: Callable[[], bool],
) -> int:
    """Wait until the sink has written what is on the topic at this moment; how many events it still lacks."""
    ranges = reader.ranges()
    return wait_until_written(connection, topic, lambda: ranges, timeout_seconds, lambda: result.asked_to_stop(stop))


def _rerate_pages(
    connection: Connection,
    result: Rerating,
    book: PriceBook,
    poster: Poster | None,
    stop: Callable[[], bool],
    progress: Callable[[Rerating], None],
    on_step: Callable[[Step], None],
) -> None:
    for page in candidates(connection, result.window, PAGE_ENTRIES):
        if result.asked_to_stop(stop):
            return
        corrections, completions = _rate_page(connection, page, book, result)
        if poster is not None and (corrections or completions):
            on_step("before_reversals")
            poster.post([correction.reversal for correction in corrections])
            on_step("between")
            poster.post([*(correction.entry for correction in corrections), *completions])
            on_step("after_entries")
            result.posted = poster.posted
        progress(result)


def _rate_page(
    connection: Connection, page: Sequence[Candidate], book: PriceBook, result: Rerating
) -> tuple[list[Correction], list[EventRecord]]:
    """The corrections of a page, and the new entries that an unfinished run owes."""
    corrections: list[Correction] = []
    taken_back: list[EventRecord] = []
    for record, reversed_by in page:
        if not reversed_by:
            rating = rerate(record, book)
            result.note(record, rating)
            if rating.correction is not None:
                corrections.append(rating.correction)
        elif str(reversal_id(record)) in reversed_by:
            taken_back.append(record)
    present = ids_in_ledger(connection, (str(new_entry_id(record)) for record in taken_back))
    completions = []
    for record in taken_back:
        if str(new_entry_id(record)) not in present:
            entry = completed(record, book)
            completions.append(entry)
            result.note_completed(entry)
    return corrections, completions


class Poster:
    """Posts records and waits until Kafka has each of them."""

    def __init__(self, settings: Settings, book: PriceBook) -> None:
        from costledger.producers import CostTracker

        self.posted = 0
        self._drops: list[str] = []
        self._wait_seconds = settings.delivery_timeout_seconds
        # Longer than an event may try: by then each is acknowledged or given up.
        self._flush_seconds = settings.delivery_timeout_seconds + settings.flush_timeout_seconds
        # In memory: what is not acknowledged here is computed again by the next run.
        self._tracker = CostTracker(
            durability="memory",
            on_error=self._note,
            price_book=book,
            topic=settings.topics.events,
            strict=True,
        )

    def post(self, records: Sequence[EventRecord]) -> None:
        """Publish them in order; returns when all are acknowledged, else raises `Unavailable`."""
        for record in records:
            self._tracker.emit_record(record, wait_seconds=self._wait_seconds)
        deadline = time.monotonic() + self._flush_seconds
        while self._tracker.flush(_FLUSH_STEP_SECONDS) and time.monotonic() < deadline:
            pass
        confirmed = self._tracker.stats()["acked"] - self.posted
        self.posted += confirmed
        if confirmed != len(records):
            raise Unavailable(
                f"Kafka confirmed {confirmed} of {len(records)} entries ({'; '.join(self._drops) or 'in time'}). What was "
                "posted stays; the same command goes on from there"
            )

    def close(self) -> None:
        """Let the producer go."""
        self._tracker.close()

    def _note(self, dropped: EventDropped) -> None:
        if len(self._drops) < _DROPS_SHOWN_MAX:
            self._drops.append(str(dropped))
