"""Offsets of what is stored, kept until Kafka has confirmed them. Pure, no I/O.

An asynchronous commit that a rebalance or a dead connection swallows is told to nobody but the callback. Without another
message in its partition it would never be made good: nothing is lost by it, but the lag stays, and what is stored is
read once more by the next owner.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, TopicPartition

logger = logging.getLogger(__name__)

#: An offset that was not confirmed for so long is committed again.
COMMIT_AGAIN_SECONDS: Final = 1.0


class Commits:
    """By partition the next offset to read that Kafka was last told, and since when it is not known to have it. For one thread.

    Times are seconds of any monotonic clock.
    """

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._unconfirmed_since: dict[int, float] = {}

    def tried(self, following: Mapping[int, int], now: float) -> None:
        """These are being committed."""
        self._wanted.update(following)
        self._unconfirmed_since.update(dict.fromkeys(following, now))

    def answered(self, error: KafkaError | None, offsets: Sequence[TopicPartition]) -> None:
        """What the client says of a commit: its callback `on_commit`."""
        for one in offsets:
            wanted, failed = self._wanted.get(one.partition), error or one.error
            if failed:
                logger.info("partition %d: Kafka did not take offset %d: %s", one.partition, one.offset, failed)
            elif one.offset == wanted:
                self._unconfirmed_since.pop(one.partition, None)
            elif wanted is not None:
                # The client tries again by itself, too: an earlier one may be the last to arrive.
                self._unconfirmed_since.setdefault(one.partition, -math.inf)

    def due(self, ours: Collection[int], now: float) -> dict[int, int]:
        """Those that are to be committed again. Of partitions that are not ours any more they are forgotten."""
        for partition in self._wanted.keys() - set(ours):
            del self._wanted[partition]
            self._unconfirmed_since.pop(partition, None)
        return {
            partition: self._wanted[partition]
            for partition, since in self._unconfirmed_since.items()
            if now - since >= COMMIT_AGAIN_SECONDS
        }
