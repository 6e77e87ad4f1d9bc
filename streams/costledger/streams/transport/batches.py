"""Record batches as they come from a broker, read within bounds whatever is in them.

A batch of a few kilobytes may inflate to gigabytes, and a name of a header may be no UTF-8: the client would use up
the memory with the one, and end at the other. Here

- a batch is inflated into a buffer of `INFLATED_BYTES_MAX`; one that does not fit, or is damaged within, gives a record
  for each of its offsets whose value is `UNREADABLE`. What inflates well is limited for each answer and partition too;
- a batch whose headers are not text is read without its headers.

The layout is Kafka's message format 2.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import decode_varint_py

#: Far above what producers put into a batch (1 MB before compression, if not set otherwise).
INFLATED_BYTES_MAX: Final = 16 * 1024 * 1024
#: The value, this very object, of a record that cannot be read.
UNREADABLE: Final = b"unreadable"

_LOG_OVERHEAD: Final = struct.Struct(">qi")
#: From the base offset to the number of records: 13 fields.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES_PLACE: Final = 21
_CODEC: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_MAGIC_PLACE: Final = 16
_MAGIC: Final = 2
_GZIP, _SNAPPY, _LZ4, _ZSTD = 1, 2, 3, 4
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16

#: One at a time inflates: into one buffer for the whole process, whoever reads. (The thread of the consumer does nearly always;
#: beside it the one that reads what another worker has written late.)
_inflating: Final = threading.Lock()

_DAMAGED: Final = (CorruptRecordException, cramjam.DecompressionError, zlib.error, ValueError, IndexError, struct.error)


class Record(NamedTuple):
    """A record with the attributes that the client reads."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    checksum: None = None


class Batches:
    """The batches of one partition in one answer of the broker; stands in for the client's own `MemoryRecords`.

    Ends early where what was read has used up its room: the client then fetches on from there.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._start = 0
        self._room = INFLATED_BYTES_MAX

    def size_in_bytes(self) -> int:
        """Of the whole answer."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether a complete batch is left, and room to read it."""
        return self._room > 0 and self._end() is not None

    def next_batch(self) -> Any:
        """The next batch, or None."""
        end = self._end()
        if end is None:
            return None
        slice_ = self._data[self._start : end]
        self._start = end
        if len(slice_) < _HEADER.size or slice_[_MAGIC_PLACE] != _MAGIC:
            raise CorruptRecordException("a broker must answer with message format 2")
        batch = DefaultRecordBatch(bytes(slice_))
        # Markers of transactions are the broker's own.
        return batch if batch.is_control_batch else BoundedBatch(batch, slice_, self)

    def use(self, inflated_bytes: int) -> None:
        """So much memory is taken by what is read."""
        self._room -= inflated_bytes

    def _end(self) -> int | None:
        if len(self._data) - self._start < _LOG_OVERHEAD.size:
            return None
        _, length = _LOG_OVERHEAD.unpack_from(self._data, self._start)
        end = self._start + _LOG_OVERHEAD.size + int(length)
        return end if self._start < end <= len(self._data) else None


class BoundedBatch:
    """A batch whose records can be read once, within bounds; for the rest it is the client's own."""

    def __init__(self, batch: Any, data: memoryview, answer: Batches) -> None:
        self._batch = batch
        self._data = data
        self._answer = answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        return _records(self._batch, self._data, self._answer)


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """Hands on the records as they are decoded, with the attributes of `Record`: the client would copy each into a larger one,
    which takes longer than to decode it."""

    def __iter__(self) -> Iterator[Any]:
        # Past __next__: a call for each record.
        return self._records_iterator or iter(())

    def _consumer_record(self, tp: Any, record: Any) -> Any:  # noqa: ARG002 - the base's signature
        return record


def install() -> None:
    """Have the consumers of this process read their batches so."""
    fetcher.MemoryRecords = Batches
    fetcher.PartitionRecords = PartitionRecords


def _records(batch: Any, data: memoryview, answer: Batches) -> Iterator[Any]:
    fields = _HEADER.unpack_from(data)
    #: What was handed on last.
    record: Any = None
    body: bytes | memoryview = data[_HEADER.size :]
    try:
        if codec := fields[5] & _CODEC:
            body = _inflated(codec, bytes(body))
            batch = DefaultRecordBatch(_plain(bytes(data[: _HEADER.size]), body))
        answer.use(len(body))
        try:
            for record in batch:
                yield record
        except UnicodeDecodeError:
            for bare in _without_headers(fields, body):
                if record is None or bare.offset > record.offset:
                    record = bare
                    yield bare
    except _DAMAGED:
        timestamp_type = int(bool(fields[5] & _LOG_APPEND_TIME))
        first_offset = fields[0] if record is None else record.offset + 1
        for offset in range(first_offset, fields[0] + fields[6] + 1):
            yield Record(offset, fields[8], timestamp_type, None, UNREADABLE, [])


def _plain(header: bytes, body: bytes) -> bytes:
    """The same batch without compression."""
    changed = bytearray(header)
    _LOG_OVERHEAD.pack_into(changed, 0, _HEADER.unpack(header)[0], len(header) + len(body) - _LOG_OVERHEAD.size)
    changed[_ATTRIBUTES_PLACE + 1] &= ~_CODEC
    return bytes(changed) + body


def _inflated(codec: int, data: bytes) -> bytes:
    """The records of a batch; raises one of `_DAMAGED` where they are damaged or too large."""
    if codec == _GZIP:
        return _gunzipped(data)
    with _inflating:
        buffer = _inflation_buffer()
        if codec == _SNAPPY:
            size = _unsnapped(data, buffer)
        elif codec == _LZ4:
            size = cramjam.lz4.decompress_into(data, buffer)
        elif codec == _ZSTD:
            size = cramjam.zstd.decompress_into(data, buffer)
        else:
            raise CorruptRecordException(f"codec {codec} is none that Kafka knows")
        return bytes(memoryview(buffer)[:size])


@cache
def _inflation_buffer() -> bytearray:
    """Made once, and used by whoever holds `_inflating`: the allocator would hand out, and zero, so much memory for every batch."""
    return bytearray(INFLATED_BYTES_MAX)


def _gunzipped(data: bytes) -> bytes:
    parts: list[bytes] = []
    room = INFLATED_BYTES_MAX
    while data:
        member = zlib.decompressobj(wbits=31)
        part = member.decompress(data, room + 1)
        room -= len(part)
        if room < 0 or not member.eof:
            raise CorruptRecordException("the batch is too large or not complete")
        parts.append(part)
        data = member.unused_data
    return b"".join(parts)


def _unsnapped(data: bytes, buffer: bytearray) -> int:
    if data[: len(_XERIAL_MAGIC)] != _XERIAL_MAGIC:
        return int(cramjam.snappy.decompress_raw_into(data, buffer))
    size, place = 0, _XERIAL_HEADER_BYTES
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        compressed = data[place + 4 : place + 4 + length]
        part = _snappy_length(compressed)
        if part > len(buffer) - size:
            raise CorruptRecordException("the batch is too large")
        block = bytearray(part)
        if int(cramjam.snappy.decompress_raw_into(compressed, block)) != part:
            raise CorruptRecordException("a block is not as long as it says")
        buffer[size : size + part] = block
        size += part
        place += 4 + length
    return size


def _snappy_length(block: bytes) -> int:
    """How long a raw block says that it is inflated: a varint at its beginning (Snappy's format description)."""
    length = 0
    for place, byte in enumerate(block[:5]):
        length |= (byte & 127) << 7 * place
        if byte < 128:
            return length
    raise CorruptRecordException("a block has no length")


def _without_headers(fields: tuple[int, ...], body: bytes | memoryview) -> Iterator[Record]:
    """The records of a batch in Python, key and value only."""
    buffer = bytearray(body)
    appended = bool(fields[5] & _LOG_APPEND_TIME)
    place = 0
    for _ in range(fields[12]):
        length, place = decode_varint_py(buffer, place)
        end = place + length
        _, place = decode_varint_py(buffer, place)
        time_delta, place = decode_varint_py(buffer, place)
        offset_delta, place = decode_varint_py(buffer, place)
        key, place = _bytes(buffer, place)
        value, place = _bytes(buffer, place)
        timestamp = fields[8] if appended else fields[7] + time_delta
        yield Record(fields[0] + offset_delta, timestamp, int(appended), key, value, [])
        place = end


def _bytes(buffer: bytearray, place: int) -> tuple[bytes | None, int]:
    length, place = decode_varint_py(buffer, place)
    if length < 0:
        return None, place
    if place + length > len(buffer):
        raise CorruptRecordException("a record ends beyond its batch")
    return bytes(memoryview(buffer)[place : place + length]), place + length
