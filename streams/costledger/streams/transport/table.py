"""The table: keyed state as it stands in the changelog topic, held only between recovery and restore.

A changelog value is 8 bytes, big-endian and signed: the main-topic offset up to which the key is
applied, then the handler's bytes. A deletion is a null value that carries the same 8 bytes in the
header `source-offset`, so that it can be compared like any other record until compaction removes it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import faust

from costledger.streams.transport.records import ConsumerRecord, StateRecord

OFFSET_HEADER = "source-offset"
_OFFSET = struct.Struct(">q")


def changelog_topic(app_id: str, table_name: str) -> str:
    """The changelog's name, by Faust's own rule."""
    return f"{app_id}-{table_name}-changelog"


def encode_change(source_offset: int, value: bytes | None) -> tuple[bytes | None, list[tuple[str, bytes]]]:
    """Return the value and headers of a changelog record."""
    prefix = _OFFSET.pack(source_offset)
    if value is None:
        return None, [(OFFSET_HEADER, prefix)]
    return prefix + value, []


def decode_change(record: ConsumerRecord) -> tuple[int | None, bytes | None]:
    """Return (source offset, value) of a changelog record.

    The offset is None for a deletion without our header: such a one wins over what precedes it.
    Raises ValueError when the value is too short to be ours.
    """
    if record.value is None:
        header = dict(record.headers).get(OFFSET_HEADER)
        return (None if header is None else _OFFSET.unpack(header)[0]), None
    if len(record.value) < _OFFSET.size:
        raise ValueError(
            f"{record.topic}[{record.partition}] offset {record.offset}: a changelog value has "
            f"{len(record.value)} bytes, at least {_OFFSET.size} are needed"
        )
    return _OFFSET.unpack_from(record.value)[0], record.value[_OFFSET.size :]


@dataclass(slots=True)
class RecoveredPartition:
    """The state of one partition while its changelog is read.

    `overtaken` holds the keys for which an older state followed a newer one in the log: a worker that
    had lost the partition wrote late. Compaction would keep the wrong one, so they are written again.
    """

    entries: dict[bytes, tuple[int, bytes | None]] = field(default_factory=dict)
    overtaken: set[bytes] = field(default_factory=set)

    def apply(self, records: Iterable[ConsumerRecord]) -> None:
        """Apply changelog records in order; the higher source offset wins, at a tie the later record."""
        entries = self.entries
        for record in records:
            key = record.key
            offset, value = decode_change(record)
            held = entries.get(key)
            if held is None:
                entries[key] = (-1 if offset is None else offset, value)
            elif offset is None or offset >= held[0]:
                entries[key] = (held[0] if offset is None else offset, value)
                self.overtaken.discard(key)
            else:
                self.overtaken.add(key)

    def state(self) -> Iterator[StateRecord]:
        """The keys that are not deleted."""
        for key, (offset, value) in self.entries.items():
            if value is not None:
                yield StateRecord(key, offset, value)

    def offsets(self) -> dict[bytes, int]:
        """The stored source offset of each key, deleted ones included."""
        return {key: offset for key, (offset, _) in self.entries.items()}

    def repairs(self) -> list[tuple[bytes, int, bytes | None]]:
        """The overtaken keys with the offset and value that must stand last in the log."""
        return [(key, *self.entries[key]) for key in sorted(self.overtaken)]


class ChangelogTable(faust.Table[bytes, bytes]):
    """A Faust table that gives the changelog its name and place in the assignment, and nothing more.

    Its own mapping is not used: the handler holds the state, the runtime writes the changelog.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recovered: dict[int, RecoveredPartition] = {}

    def apply_records(self, partition: int, records: Iterable[ConsumerRecord]) -> None:
        """Apply raw changelog records during recovery."""
        self.recovered.setdefault(partition, RecoveredPartition()).apply(records)

    def take(self, partition: int) -> RecoveredPartition:
        """Return what was recovered for a partition and forget it here."""
        return self.recovered.pop(partition, None) or RecoveredPartition()
