"""The table: keyed state as it stands in the changelog topic, held only between recovery and restore.

A changelog value is 8 bytes, big-endian and signed: the main-topic offset up to which the key is
applied, then the handler's bytes. A deletion is a null value that carries the same 8 bytes in the
header `source-offset`, so that it can be compared like any other record until compaction removes it.
A value in parts (see `parts`) leaves its record with the offset alone, and the header `parts`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import faust

from costledger.streams.transport.parts import PART_PREFIX, PARTS_HEADER, Parts, Value
from costledger.streams.transport.records import ConsumerRecord, StateRecord

OFFSET_HEADER = "source-offset"
Order = Callable[[bytes, bytes], int | None]
"""`Handler.order`."""
_OFFSET = struct.Struct(">q")


def changelog_topic(app_id: str, table_name: str) -> str:
    """The changelog's name, by Faust's own rule."""
    return f"{app_id}-{table_name}-changelog"


def encode_change(source_offset: int, value: Value) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Return the value and headers of a changelog record."""
    prefix = _OFFSET.pack(source_offset)
    if value is None:
        return None, [(OFFSET_HEADER, prefix)]
    if isinstance(value, Parts):
        return prefix, [value.header()]
    return prefix + value, []


def decode_change(record: ConsumerRecord) -> tuple[int | None, Value]:
    """Return (source offset, value) of a changelog record.

    The offset is None for a deletion without our header: such a one wins over what precedes it.
    Raises ValueError when the value is too short to be ours.
    """
    if record.value is None:
        header = dict(record.headers).get(OFFSET_HEADER)
        return (None if header is None else _OFFSET.unpack(header)[0]), None
    if len(record.value) < _OFFSET.size:
        raise ValueError(
            f"offset {record.offset}: a changelog value has "
            f"{len(record.value)} bytes, at least {_OFFSET.size} are needed"
        )
    parts = dict(record.headers).get(PARTS_HEADER)
    value = record.value[_OFFSET.size :] if parts is None else Parts.of_header(parts)
    return _OFFSET.unpack_from(record.value)[0], value


def by_source_offset(key: bytes, value: bytes) -> None:
    """The order of keys that have none of their own."""


@dataclass(slots=True)
class RecoveredPartition:
    """The state of one partition while its changelog is read.

    `overtaken` holds the keys for which an older state followed a newer one in the log: a worker that
    had lost the partition wrote late. Compaction would keep the wrong one, so they are written again.
    The same holds for a record whose parts are not there: a later one replaced it and deleted them.
    """

    order: Order = by_source_offset
    entries: dict[bytes, tuple[int, Value]] = field(default_factory=dict)
    overtaken: set[bytes] = field(default_factory=set)
    #: The changelog offset after the last record applied.
    position: int = 0
    parts: dict[bytes, bytes] = field(default_factory=dict)

    def apply(self, records: Iterable[ConsumerRecord]) -> None:
        """Apply changelog records in order: the newer one by `order` wins, then the higher source offset, then the later one."""
        entries = self.entries
        for record in records:
            key = record.key
            if key.startswith(PART_PREFIX):
                self._apply_part(key, record.value)
                continue
            offset, value = decode_change(record)
            held = entries.get(key)
            if isinstance(value, Parts) and not self.parts.keys() >= set(value.part_keys()):
                self.overtaken.add(key)
            elif held is None:
                entries[key] = (-1 if offset is None else offset, value)
                self.overtaken.discard(key)
            elif self._is_newer(key, offset, value, held):
                entries[key] = (held[0] if offset is None else max(offset, held[0]), value)
                self.overtaken.discard(key)
            else:
                entries[key] = (held[0] if offset is None else max(offset, held[0]), held[1])
                self.overtaken.add(key)

    def state(self) -> Iterator[StateRecord]:
        """The keys that are not deleted. Raises ValueError where the parts of a value are nowhere."""
        if lost := sorted(self.overtaken - self.entries.keys()):
            raise ValueError(f"the parts of {len(lost)} keys are missing from the changelog, the first is {lost[0]!r}")
        for key, (offset, value) in self.entries.items():
            if isinstance(value, Parts):
                if not self.parts.keys() >= set(value.part_keys()):
                    raise ValueError(f"the parts of {key!r} were deleted, which is still said to consist of them")
                yield StateRecord(key, offset, b"".join(self.parts[part] for part in value.part_keys()))
            elif value is not None:
                yield StateRecord(key, offset, value)

    def in_parts(self) -> dict[bytes, Parts]:
        """The keys whose values are stored in parts."""
        return {key: value for key, (_, value) in self.entries.items() if isinstance(value, Parts)}

    def orphans(self) -> list[bytes]:
        """The keys of parts that no record names, those that were written last at the end."""
        named = {part for parts in self.in_parts().values() for part in parts.part_keys()}
        return [part for part in self.parts if part not in named]

    def offsets(self) -> dict[bytes, int]:
        """The stored source offset of each key, deleted ones included."""
        return {key: offset for key, (offset, _) in self.entries.items()}

    def repairs(self) -> list[tuple[bytes, int, Value]]:
        """The overtaken keys with the offset and value that must stand last in the log."""
        return [(key, *self.entries[key]) for key in sorted(self.overtaken)]

    def _is_newer(self, key: bytes, offset: int | None, value: Value, held: tuple[int, Value]) -> bool:
        """Whether a record that stands later in the log says what is to be held."""
        if isinstance(value, bytes) and isinstance(held[1], bytes):
            number, before = self.order(key, value), self.order(key, held[1])
            if number is not None and before is not None and number != before:
                return number > before
        return offset is None or offset >= held[0]

    def _apply_part(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self.parts.pop(key, None)
        else:
            self.parts[key] = value


class ChangelogTable(faust.Table[bytes, bytes]):
    """A Faust table that gives the changelog its name and place in the assignment, and nothing more.

    Its own mapping is not used: the handler holds the state, the runtime writes the changelog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recovered: dict[int, RecoveredPartition] = {}
        self.order: Order = by_source_offset

    def apply_records(self, partition: int, records: Sequence[ConsumerRecord]) -> None:
        """Apply raw changelog records during recovery."""
        recovered = self.recovered.setdefault(partition, RecoveredPartition(self.order))
        recovered.apply(records)
        recovered.position = records[-1].offset + 1

    def position(self, partition: int) -> int | None:
        """Where a recovery that a rebalance cut short is to be read on; None where none was begun."""
        recovered = self.recovered.get(partition)
        return None if recovered is None else recovered.position

    def keep_only(self, partitions: Set[int]) -> None:
        """Forget what was recovered of all others."""
        for partition in self.recovered.keys() - partitions:
            del self.recovered[partition]

    def take(self, partition: int) -> RecoveredPartition:
        """Return what was recovered for a partition and forget it here."""
        return self.recovered.pop(partition, None) or RecoveredPartition(self.order)
