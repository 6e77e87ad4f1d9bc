"""Offsets of what is stored, kept until Kafka has confirmed them. Pure, no I/O.

An asynchronous commit that a rebalance or a dead connection swallows is told to nobody but the callback. Without another
message in its partition it would never be made good: nothing is lost by it, but the lag stays, and what is stored is
read once more by the next owner.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, TopicPartition

logger = logging.getLogger(__name__)

#: An offset that was not confirmed for so long is committed again.
COMMIT_AGAIN_SECONDS: Final = 1.0


class Commits:
    """By partition the next offset to read, of those that Kafka is not known to have. For one thread."""

    def __init__(self) -> None:
        self._unconfirmed: dict[int, int] = {}
        self._tried_at = 0.0

    def tried(self, following: Mapping[int, int], now: float) -> None:
        """These are being committed. Times are seconds of any monotonic clock."""
        self._unconfirmed.update(following)
        self._tried_at = now

    def answered(self, error: KafkaError | None, offsets: Sequence[TopicPartition]) -> None:
        """What the client says of a commit: its callback `on_commit`."""
        for one in offsets:
            failed = error or one.error
            if failed:
                logger.info("partition %d: Kafka did not take offset %d: %s", one.partition, one.offset, failed)
            elif self._unconfirmed.get(one.partition) == one.offset:
                del self._unconfirmed[one.partition]

    def due(self, now: float) -> bool:
        """Whether any is to be committed again."""
        return bool(self._unconfirmed) and now - self._tried_at >= COMMIT_AGAIN_SECONDS

    def left(self, ours: Collection[int]) -> dict[int, int]:
        """Those that are to be committed again; of partitions that are not ours any more they are forgotten."""
        self._unconfirmed = {partition: at for partition, at in self._unconfirmed.items() if partition in ours}
        return dict(self._unconfirmed)
