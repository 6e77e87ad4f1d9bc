"""The latest events of a partition by id, so that a repeat changes no total.

A producer that is not sure whether an event arrived sends it again, with the same id, and an import may be
run twice. The ledger refuses such repeats for ever; the stream remembers the last `events_max` events of
each partition. With each id goes its offset: the same event read again from the same offset (a replay after
a crash) is not a repeat, the state's fence takes care of it.

The ids are stored in a ring of chunks, each a state record of its own. Chunks land one by one, so after a crash,
or after the ring was made larger, an id may stand in two of them: the higher offset holds.
"""

from __future__ import annotations

import struct
from typing import Final

CHUNK_EVENTS: Final = 500
_ID_CHARACTERS: Final = 36


class RecentEvents:
    """A ring of at least the last `events_max` event ids (canonical text) with their offsets."""

    def __init__(self, events_max: int) -> None:
        # One more than they fill: the chunk that is being filled has taken the place of a whole one.
        self._slots = -(-events_max // CHUNK_EVENTS) + 1
        self._chunks: list[dict[str, int]] = [{} for _ in range(self._slots)]
        self._slot = 0
        self._offset_of: dict[str, int] = {}
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return len(self._offset_of)

    def is_repeat(self, event_id: str, offset: int) -> bool:
        """Whether the event was seen at another offset; if not seen at all, it is remembered."""
        known = self._offset_of.get(event_id)
        if known is not None:
            return known != offset
        self._offset_of[event_id] = offset
        chunk = self._chunks[self._slot]
        if len(chunk) >= CHUNK_EVENTS:
            chunk = self._next_chunk()
        chunk[event_id] = offset
        self._dirty.add(self._slot)
        return False

    def changed_chunks(self) -> list[tuple[int, bytes]]:
        """(slot, stored form) of the chunks that changed since the last call."""
        changed = [(slot, _stored(self._chunks[slot])) for slot in sorted(self._dirty)]
        self._dirty.clear()
        return changed

    def restore(self, slot: int, data: bytes) -> None:
        """Take back a stored chunk; a slot beyond the ring (it has been made smaller) is ignored."""
        if slot >= self._slots:
            return
        count = len(data) // (_ID_CHARACTERS + 8)
        text = data[: count * _ID_CHARACTERS].decode("ascii")
        offsets = struct.unpack(f">{count}q", data[count * _ID_CHARACTERS :])
        ids = [text[start : start + _ID_CHARACTERS] for start in range(0, len(text), _ID_CHARACTERS)]
        chunk = self._chunks[slot] = dict(zip(ids, offsets, strict=True))
        for event_id, offset in chunk.items():
            if offset > self._offset_of.get(event_id, -1):
                self._offset_of[event_id] = offset

    def restored(self) -> None:
        """After the last `restore`: go on in the slot that holds the newest event."""
        newest = [max(chunk.values(), default=-1) for chunk in self._chunks]
        self._slot = newest.index(max(newest))

    def _next_chunk(self) -> dict[str, int]:
        self._slot = (self._slot + 1) % self._slots
        for event_id, offset in self._chunks[self._slot].items():
            # Another chunk may hold it with a later offset.
            if self._offset_of.get(event_id) == offset:
                del self._offset_of[event_id]
        chunk: dict[str, int] = {}
        self._chunks[self._slot] = chunk
        return chunk


def _stored(chunk: dict[str, int]) -> bytes:
    return "".join(chunk).encode("ascii") + struct.pack(f">{len(chunk)}q", *chunk.values())
