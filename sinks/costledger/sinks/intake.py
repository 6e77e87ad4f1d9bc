"""The sink's consumer: reads, seeks, pauses, and keeps the gatherer's positions honest. For one thread."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from costledger.schemas.errors import CostledgerError, Unavailable
from costledger.schemas.kafka_config import ClientConfig
from costledger.schemas.settings import Settings
from costledger.sinks.batch import Gatherer
from costledger.sinks.commits import Commits
from costledger.sinks.consuming import member_config
from costledger.sinks.unreadable import UnreadableBatch, first_unreadable, unreadable_batch

logger = logging.getLogger(__name__)

_CONSUME_MESSAGES_MAX: Final = 5_000
_WATERMARK_TIMEOUT_SECONDS: Final = 5.0
_QUEUED_KILOBYTES_MAX: Final = 64 * 1024
_FETCH_BYTES_MAX: Final = 1024 * 1024
#: How long consumption rests when the schema registry cannot be asked.
_REGISTRY_WAIT_SECONDS: Final = 1.0

RebalanceCallback = Callable[[Consumer, list[TopicPartition]], None]


class TopicShrunk(CostledgerError):
    """The topic ends before the ledger's position: it was made anew or truncated."""


def consumer_config(settings: Settings) -> ClientConfig:
    """The consumer's configuration; what differs from librdkafka's defaults is there for a reason of its own."""
    config = {
        **member_config(settings, "costledger-sink", settings.sink_group),
        "queued.max.messages.kbytes": _QUEUED_KILOBYTES_MAX,
        "fetch.wait.max.ms": 100,
        # Of all partitions together: what a few compressed kilobytes can inflate to is a multiple of it.
        "fetch.max.bytes": _FETCH_BYTES_MAX,
        # Tells where a partition ends, beyond transaction markers that are no messages.
        "enable.partition.eof": True,
    }
    if settings.sink_instance_id is not None:
        config["group.instance.id"] = settings.sink_instance_id
    return config


class Intake:
    """Feeds a gatherer from a topic; the gatherer decides what it believes."""

    def __init__(self, settings: Settings, gatherer: Gatherer) -> None:
        self._settings = settings
        self._topic = gatherer.topic
        self._gatherer = gatherer
        self._mirrored = Commits()
        self._consumer = Consumer({**consumer_config(settings), "on_commit": self._mirrored.answered}, logger=logger)
        self._paused = False
        self._unchecked: set[int] = set()
        #: Record batches that cannot be read and are not all put aside yet, by partition.
        self._unreadable: dict[int, UnreadableBatch] = {}
        self._rests_until = 0.0
        #: Why nothing can be read at the moment, or None.
        self.trouble: str | None = None

    def open(self, on_assign: RebalanceCallback, on_revoke: RebalanceCallback, on_lost: RebalanceCallback) -> None:
        """Join the group; the callbacks come during `gather` and `hold`."""
        self._consumer.subscribe([self._topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def began(self, positions: Mapping[int, int]) -> None:
        """Partitions are ours from these offsets on: whether the topic has them, and Kafka was told, is yet to be seen."""
        self._unchecked.update(positions)
        self._mirrored.tried(positions, -math.inf)

    def gather(self, wait_seconds: float) -> None:
        """Take messages, waiting for them so long at most."""
        rest_seconds = self._rests_until - time.monotonic()
        if rest_seconds > 0:
            self.hold(min(wait_seconds, rest_seconds))
            return
        if self._paused:
            self._resume()
        self._refuse_unreadable()
        self._seek_astray()
        if self._gatherer.full:
            return
        self._take(self._consumer.consume(min(_CONSUME_MESSAGES_MAX, self._gatherer.rows_left), wait_seconds))

    def hold(self, wait_seconds: float = 0.0) -> None:
        """Take nothing, and go on serving the group, for so long at most."""
        self._consumer.pause(self._consumer.assignment())
        self._paused = True
        message = self._consumer.poll(wait_seconds)
        if message is not None:
            self._take([message])

    def high_watermarks(self) -> dict[int, int]:
        """The end of each partition, as far as the client knows."""
        ends = {}
        for partition in self._gatherer.positions():
            range_known = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if range_known is not None and range_known[1] >= 0:
                ends[partition] = range_known[1]
        return ends

    def check_ranges(self) -> None:
        """Compare doubtful positions with what the topic holds; raises `TopicShrunk` where it ends before them."""
        positions = self._gatherer.positions()
        self._unchecked |= self._gatherer.behind
        self._gatherer.behind.clear()
        self._unchecked &= positions.keys()
        for partition in sorted(self._unchecked):
            if not self._check_range(partition, positions[partition]):
                # Nor would it answer for the others, and each would take as long. The next look asks again.
                break

    def mirror_again(self) -> None:
        """Tell Kafka once more what it has not confirmed."""
        self.mirror(self._mirrored.due(self._gatherer.positions(), time.monotonic()))

    def mirror(self, positions: Mapping[int, int], *, asynchronous: bool = True) -> None:
        """Tell Kafka how far the ledger is, for lag monitors; nothing depends on it."""
        self._mirrored.tried(positions, time.monotonic())
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in positions.items()]
        if not offsets:
            return
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            logger.info("Kafka did not take the mirror of the offsets: %s", error)

    def _take(self, messages: list[Message]) -> None:
        away = self._take_all(messages)
        if away is not None:
            self.trouble = str(away)
            self._rests_until = time.monotonic() + _REGISTRY_WAIT_SECONDS
            partitions = sorted(self._gatherer.astray())
            logger.error("the sink waits for a schema, partitions %s: %s", partitions, away)
        elif messages:
            self.trouble = None

    def _take_all(self, messages: list[Message]) -> Unavailable | None:
        """Take them; of a partition with a message whose schema cannot be had now only those before it. Why, or None."""
        place, away = 0, None
        while place < len(messages):
            try:
                place = self._gatherer.add_run(messages, place)
                if place < len(messages):
                    self._take_one(messages[place])
                    place += 1
            except Unavailable as error:
                # Its partition is astray from here on: what else of it is here is passed over, and read again.
                away = error
        return away

    def _take_one(self, message: Message) -> None:
        error = message.error()
        if error is None:
            self._gatherer.add(message)
        else:
            self._note(message, error)

    def _note(self, message: Message, error: KafkaError) -> None:
        partition, offset = message.partition(), message.offset()
        if error.code() == KafkaError._PARTITION_EOF:
            if partition is not None and offset is not None:
                self._gatherer.end(partition, offset)
        elif error.fatal():
            raise KafkaException(error)
        elif partition is not None and (first := first_unreadable(message)) is not None:
            self._find_unreadable(partition, first)
        else:
            logger.error("Kafka, partition %s: %s", partition, error)

    def _find_unreadable(self, partition: int, first: int) -> None:
        """The client cannot inflate a record batch, and by itself would read it again for ever."""
        if partition in self._unreadable or self._gatherer.positions().get(partition, -1) < 0:
            return
        try:
            self._unreadable[partition] = unreadable_batch(self._settings, self._topic, partition, first)
        except Unavailable as away:
            logger.error("partition %d: %s", partition, away)  # noqa: TRY400 - passes

    def _refuse_unreadable(self) -> None:
        for batch in list(self._unreadable.values()):
            if self._gatherer.refuse(batch.partition, batch.first, batch.end, batch.reason):
                del self._unreadable[batch.partition]

    def _resume(self) -> None:
        self._gatherer.doubt()
        self._consumer.resume(self._consumer.assignment())
        self._paused = False

    def _seek_astray(self) -> None:
        for partition, offset in self._gatherer.astray().items():
            try:
                self._consumer.seek(TopicPartition(self._topic, partition, offset))
            except KafkaException as error:
                # Right after an assignment the partition may not be ready for it: the next turn tries again.
                logger.info("partition %d cannot be set to offset %d yet: %s", partition, offset, error)
            else:
                logger.warning("partition %d went on at another offset than %d: reading again", partition, offset)
                self._gatherer.sought(partition)

    def _check_range(self, partition: int, next_offset: int) -> bool:
        """Compare; False where Kafka does not answer."""
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self._topic, partition), timeout=_WATERMARK_TIMEOUT_SECONDS
            )
        except KafkaException as error:
            logger.warning("the range of partition %d cannot be had yet: %s", partition, error)
            return False
        self._unchecked.discard(partition)
        if high < next_offset:
            raise TopicShrunk(
                f"{self._topic} partition {partition} ends at offset {high}, and the ledger is at {next_offset}: the topic "
                "was made anew or lost data. If it was made anew on purpose, forget its positions "
                "(costledger.sinks.positions.forget) and start again"
            )
        if low > next_offset:
            logger.error(
                "%d events of partition %d expired on Kafka before they were read (offsets %d to %d)",
                low - next_offset,
                partition,
                next_offset,
                low,
            )
        return True
