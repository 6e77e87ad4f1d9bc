"""The latest events of a partition by id, so that a repeat changes no total.

A producer that is not sure whether an event arrived sends it again, with the same id, and an import may be
run twice. The ledger refuses such repeats for ever; the stream remembers the last `events_max` events of
each partition. With each id goes its offset: the same event read again from the same offset (a replay after
a crash) is not a repeat, the state's fence takes care of it.

The ids are stored in a ring of chunks, each a state record of its own. An id's chunk is found from its offset alone: chunks
land one by one, and after a crash in between each replayed event comes to stand where it stood. An id may stand in two
chunks (a repeat whose first place was forgotten): the higher offset holds.
"""

from __future__ import annotations

import struct
from typing import Final

CHUNK_EVENTS: Final = 500
_ID_CHARACTERS: Final = 36


class RecentEvents:
    """A ring of the event ids (canonical text) of at least the last `events_max` offsets."""

    def __init__(self, events_max: int) -> None:
        self._chunk_events = CHUNK_EVENTS
        # One more than they fill: the chunk that is being filled has taken the place of a whole one.
        self._slots = -(-events_max // CHUNK_EVENTS) + 1
        self._chunks: list[dict[str, int]] = [{} for _ in range(self._slots)]
        #: The number of the chunk in each slot: offsets // `CHUNK_EVENTS`.
        self._numbers = [-1] * self._slots
        self._offset_of: dict[str, int] = {}
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return len(self._offset_of)

    def is_repeat(self, event_id: str, offset: int) -> bool:
        """Whether the event was seen at another offset; if not seen at all, it is remembered."""
        known = self._offset_of.get(event_id)
        if known is not None:
            return known != offset
        number = offset // self._chunk_events
        slot = number % self._slots
        if self._numbers[slot] == number or self._make_room(slot, number):
            self._chunks[slot][event_id] = self._offset_of[event_id] = offset
            self._dirty.add(slot)
        return False

    def changed_chunks(self) -> list[tuple[int, bytes]]:
        """(slot, stored form) of the chunks that changed since the last call."""
        changed = [(slot, _stored(self._chunks[slot])) for slot in sorted(self._dirty)]
        self._dirty.clear()
        return changed

    def renew(self, slot: int) -> None:
        """The chunk of this slot counts as changed, where there is such a slot."""
        if slot < self._slots:
            self._dirty.add(slot)

    def restore(self, slot: int, data: bytes) -> None:
        """Take back a stored chunk; also from a ring of another size, whose ids belong elsewhere by now."""
        count = len(data) // (_ID_CHARACTERS + 8)
        text = data[: count * _ID_CHARACTERS].decode("ascii")
        offsets = struct.unpack(f">{count}q", data[count * _ID_CHARACTERS :])
        for start, offset in zip(range(0, len(text), _ID_CHARACTERS), offsets, strict=True):
            self._take_back(text[start : start + _ID_CHARACTERS], offset, slot)

    def _take_back(self, event_id: str, offset: int, stored_in: int) -> None:
        number = offset // self._chunk_events
        slot = number % self._slots
        if self._numbers[slot] != number and not self._make_room(slot, number):
            return
        self._chunks[slot][event_id] = offset
        if offset > self._offset_of.get(event_id, -1):
            self._offset_of[event_id] = offset
        if slot != stored_in:
            self._dirty.add(slot)

    def _make_room(self, slot: int, number: int) -> bool:
        """Begin a chunk in a slot; False where a later one is there: then it is of offsets that are forgotten already."""
        if number < self._numbers[slot]:
            return False
        for event_id, offset in self._chunks[slot].items():
            # Another chunk may hold it with a later offset.
            if self._offset_of.get(event_id) == offset:
                del self._offset_of[event_id]
        self._chunks[slot], self._numbers[slot] = {}, number
        return True


def _stored(chunk: dict[str, int]) -> bytes:
    return "".join(chunk).encode("ascii") + struct.pack(f">{len(chunk)}q", *chunk.values())
