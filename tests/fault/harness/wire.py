"""Record batches made byte by byte (Kafka's message format 2): what no honest producer would send."""

from __future__ import annotations

import asyncio
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cramjam
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

#: `xerial` is Snappy as Java's clients write it: framed blocks.
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "xerial": 2, "lz4": 3, "zstd": 4}
XERIAL_HEADER = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES = 32 * 1024
_AFTER_CRC = struct.Struct(">hiqqqhii")
_BEFORE_CRC = struct.Struct(">qiibI")
_LENGTH_FROM = 12


@dataclass(frozen=True)
class RawBatch:
    """A record batch as it goes over the wire."""

    data: bytes
    records: int


def varint(number: int) -> bytes:
    """Zig-zag, then groups of 7 bits."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    out.append(left)
    return bytes(out)


def record(
    offset_delta: int, key: bytes | None, value: bytes | None, headers: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    """One record; names of headers are bytes here."""

    def sized(data: bytes | None) -> bytes:
        return varint(-1) if data is None else varint(len(data)) + data

    body = b"\x00" + varint(0) + varint(offset_delta) + sized(key) + sized(value) + varint(len(headers))
    body += b"".join(sized(name) + sized(content) for name, content in headers)
    return varint(len(body)) + body


def batch(records: Iterable[bytes], codec: str = "none") -> RawBatch:
    """A batch of records (of offsets 0, 1, 2 …), compressed piece by piece, so that a bomb costs its maker nothing."""
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for one in records:
            count += 1
            yield one

    body = _compressed(counted(), codec)
    now_ms = int(time.time() * 1000)
    after = _AFTER_CRC.pack(CODECS[codec], count - 1, now_ms, now_ms, -1, -1, -1, count) + body
    length = _BEFORE_CRC.size + len(after) - _LENGTH_FROM
    return RawBatch(_BEFORE_CRC.pack(0, length, -1, 2, calc_crc32c(after)) + after, count)


def send(bootstrap_servers: str, topic: str, partition: int, batches: Sequence[RawBatch]) -> None:
    """Produce batches as they are; returns when the broker has acknowledged all."""

    async def sending() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap_servers, acks="all", max_request_size=64 * 2**20, request_timeout_ms=60_000
        )
        await producer.start()
        try:
            for one in batches:
                builder = producer.create_batch()
                builder.append(key=b"k", value=b"v", timestamp=None)
                builder.close()
                builder._buffer, builder._relative_offset = bytearray(one.data), one.records
                await (await producer.send_batch(builder, topic, partition=partition))
        finally:
            await producer.stop()

    asyncio.run(sending())


def _compressed(pieces: Iterable[bytes], codec: str) -> bytes:
    if codec == "none":
        return b"".join(pieces)
    if codec == "snappy":
        return bytes(cramjam.snappy.compress_raw(b"".join(pieces)))
    if codec == "xerial":
        body = b"".join(pieces)
        blocks = (body[at : at + _XERIAL_BLOCK_BYTES] for at in range(0, len(body), _XERIAL_BLOCK_BYTES))
        packed = (bytes(cramjam.snappy.compress_raw(block)) for block in blocks)
        return XERIAL_HEADER + b"".join(struct.pack(">I", len(block)) + block for block in packed)
    if codec == "gzip":
        gzip = zlib.compressobj(9, wbits=31)
        return b"".join([gzip.compress(piece) for piece in pieces]) + gzip.flush()
    made = cramjam.zstd.Compressor(level=12) if codec == "zstd" else cramjam.lz4.Compressor(level=9, block_linked=False)
    for piece in pieces:
        made.compress(piece)
    return bytes(made.finish())
