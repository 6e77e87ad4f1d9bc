"""The producer: idempotent, and able to write groups of changes as whole record batches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from faust.transport.drivers.aiokafka import Producer

from costledger.streams.transport.records import Output

BATCH_OVERHEAD_BYTES = 61
"""The header of a record batch (Kafka's message format 2)."""
RECORD_OVERHEAD_BYTES = 32
"""An upper bound of a record's own fields: length, attributes, deltas, key and value lengths, header count."""
OUTPUTS_IN_FLIGHT_MAX = 10_000
"""Outputs handed to the client before their acknowledgements are awaited."""

Row = tuple[bytes, bytes | None, list[tuple[str, bytes]]]
"""A changelog record: key, value, headers."""


class GroupTooLargeError(ValueError):
    """A group of changes does not fit into one record batch."""


def row_bytes(row: Row) -> int:
    """An upper bound of a record's size inside a batch."""
    key, value, headers = row
    size = RECORD_OVERHEAD_BYTES + len(key) + len(value or b"")
    return size + sum(len(name) + len(content) + 10 for name, content in headers)


def pack(groups: Iterable[Sequence[Row]], batch_bytes_max: int, where: str) -> list[list[Row]]:
    """Lay groups into batches of at most `batch_bytes_max`, in order, none split over two.

    Raises GroupTooLargeError naming `where`, the group's size and the limit.
    """
    batches: list[list[Row]] = []
    room = 0
    for group in groups:
        size = sum(map(row_bytes, group))
        if size > batch_bytes_max - BATCH_OVERHEAD_BYTES:
            raise GroupTooLargeError(
                f"{where}: a group of {len(group)} changes has {size} bytes, "
                f"batch_bytes_max is {batch_bytes_max} with {BATCH_OVERHEAD_BYTES} for the batch itself"
            )
        if size > room:
            batches.append([])
            room = batch_bytes_max - BATCH_OVERHEAD_BYTES
        batches[-1].extend(group)
        room -= size
    return batches


class BatchProducer(Producer):
    """Faust's producer with idempotence, and two ways of writing that return once all is acknowledged."""

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    async def send_outputs(self, outputs: Sequence[Output]) -> None:
        """Produce outputs and await all acknowledgements. Raises KafkaError for the first that failed."""
        client = self._ensure_producer()
        for first in range(0, len(outputs), OUTPUTS_IN_FLIGHT_MAX):
            sent = []
            for output in outputs[first : first + OUTPUTS_IN_FLIGHT_MAX]:
                sent.append(  # noqa: PERF401  (each send may wait for room, so they go one after another)
                    await client.send(
                        output.topic,
                        value=output.value,
                        key=output.key,
                        partition=output.partition,
                        headers=output.headers,
                    )
                )
            await asyncio.gather(*sent)

    async def write_groups(self, topic: str, partition: int, groups: Iterable[Sequence[Row]]) -> list[tuple[int, int]]:
        """Write groups to one partition and await all acknowledgements.

        Of each batch, in their order: the offset of its first record (negative where the broker does not tell), and how
        many records it has. Raises GroupTooLargeError before anything is written, KafkaError when a batch was not stored.
        """
        client = self._ensure_producer()
        sent, counts = [], []
        for rows in pack(groups, self.max_batch_size, f"{topic}[{partition}]"):
            batch = client.create_batch()
            for key, value, headers in rows:
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise GroupTooLargeError(f"{topic}[{partition}]: a batch of {len(rows)} records is full")
            batch.close()
            sent.append(await client.send_batch(batch, topic, partition=partition))
            counts.append(len(rows))
        return [(stored.offset, count) for stored, count in zip(await asyncio.gather(*sent), counts, strict=True)]
