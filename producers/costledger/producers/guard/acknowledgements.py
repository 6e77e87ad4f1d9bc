"""Where events lie on the topic, for amounts that are settled after their events were acknowledged.

No lock of its own: `Outstanding` has one around it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

#: Of events that nobody said would be settled, the latest so many.
OTHERS_MAX: Final = 20_000
#: Events that were said to be settled, and are not yet.
EXPECTED_MAX: Final = 100_000


class Acknowledgements:
    """Offsets by event id; `on_unclaimed` is called for each expected event that had to make way unsettled."""

    def __init__(
        self, on_unclaimed: Callable[[], None], others_max: int = OTHERS_MAX, expected_max: int = EXPECTED_MAX
    ) -> None:
        self._on_unclaimed = on_unclaimed
        self._others_max = others_max
        self._expected_max = expected_max
        self._others: OrderedDict[UUID, int] = OrderedDict()
        self._expected: OrderedDict[UUID, int | None] = OrderedDict()

    def expect(self, event_ids: Sequence[UUID]) -> None:
        """These will be settled: keep their offsets until then, however many other events come between."""
        for event_id in event_ids:
            self._expected.setdefault(event_id, self._others.pop(event_id, None))
        while len(self._expected) > self._expected_max:
            self._expected.popitem(last=False)
            self._on_unclaimed()

    def note(self, event_id: UUID, offset: int) -> None:
        """Kafka has an event."""
        if event_id in self._expected:
            self._expected[event_id] = offset
        else:
            self._note_other(event_id, offset)

    def claim(self, event_ids: Sequence[UUID]) -> list[int | None]:
        """The offsets of events that are settled now, None where Kafka does not have one yet: expected no more."""
        offsets = [self._expected.get(event_id, self._others.get(event_id)) for event_id in event_ids]
        for event_id, offset in zip(event_ids, offsets, strict=True):
            if self._expected.pop(event_id, None) is not None and offset is not None:
                # Another amount may name the same event.
                self._note_other(event_id, offset)
        return offsets

    def _note_other(self, event_id: UUID, offset: int) -> None:
        self._others[event_id] = offset
        while len(self._others) > self._others_max:
            self._others.popitem(last=False)
