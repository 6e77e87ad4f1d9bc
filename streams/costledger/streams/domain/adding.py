"""A fetch's events into the totals of their partition.

Most events are plain: priced, new, of a user and an operation that have something waiting in the same hour, and
far from every limit. Where there was a C compiler these take a short way (`_adding`, a compiled twin); whatever is not
plainly so is handed to `PartitionTotals.add`, which alone says what an event means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from costledger.schemas.event_reading import ReadEvent
from costledger.schemas.twins import twin_of
from costledger.streams.domain.partition import Outcome, PartitionTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS

_MICROSECONDS_PER_MILLISECOND = 1000
#: The same of the compiled twin, given how one event is added; or None.
_compiled: Callable[..., tuple[list[Outcome], int]] | None = twin_of(__name__, "add_events")


class Record(Protocol):
    """The place of an event: its offset, and the broker's clock when it was stored (Unix milliseconds)."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...


def add_events(
    totals: PartitionTotals, records: Sequence[Record], events: Sequence[ReadEvent | None]
) -> tuple[list[Outcome], int]:
    """Apply events in the order of their offsets; None stands for one that was refused.

    What became of those that were not simply applied, and how many came late: on a day before the one on which they were
    received, in UTC.
    """
    if _compiled is not None:
        return _compiled(totals, records, events, add_one)
    outcomes: list[Outcome] = []
    late = 0
    for record, event in zip(records, events, strict=True):
        if event is None:
            totals.skip_event(record.offset)
            continue
        received_at_us = record.timestamp * _MICROSECONDS_PER_MILLISECOND
        outcome = add_one(totals, event, record.offset, received_at_us)
        if outcome is not Outcome.APPLIED:
            outcomes.append(outcome)
        late += event[6] // DAY_MICROSECONDS < received_at_us // DAY_MICROSECONDS
    return outcomes, late


def add_one(totals: PartitionTotals, event: ReadEvent, offset: int, received_at_us: int) -> Outcome:
    """Apply one event."""
    event_id, user_id, charge, _, _, amount, occurred_at_us, tail = event
    takes_back = tail.reverses_event_id is not None
    return totals.add(event_id, user_id, charge.key, amount, occurred_at_us, takes_back, offset, received_at_us)
