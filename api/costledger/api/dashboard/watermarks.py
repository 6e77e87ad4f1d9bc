"""How many messages Kafka holds, for the operators' lag: asked seldom, and never waited for long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from costledger.schemas.settings import Settings
from costledger.sinks.consuming import reader_config

logger = structlog.get_logger(__name__)

Ranges = Mapping[int, tuple[int, int]]

_TIMEOUT_SECONDS: Final = 2.0
_KEPT_SECONDS: Final = 3.0
#: Each failure takes the whole timeout: a page must not wait for it every time.
_KEPT_AFTER_FAILURE_SECONDS: Final = 15.0
#: Of librdkafka's levels: what goes wrong is raised, and logged here once.
_LOG_CRITICAL: Final = 2


class Watermarks:
    """The low and high watermark of every partition of a topic, as they were some seconds ago. Safe between threads."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._config = {
            **reader_config(settings, "costledger-dashboard", f"{settings.sink_group}-dashboard"),
            "log_level": _LOG_CRITICAL,
        }
        self._topic = topic
        self._lock = Lock()
        self._consumer: Consumer | None = None
        self._ask_at = 0.0
        self._ranges: Ranges | None = None

    def ranges(self) -> Ranges | None:
        """The watermarks by partition; None where Kafka does not say."""
        with self._lock:
            if time.monotonic() >= self._ask_at:
                self._ranges = self._ask()
                kept = _KEPT_SECONDS if self._ranges is not None else _KEPT_AFTER_FAILURE_SECONDS
                self._ask_at = time.monotonic() + kept
            return self._ranges

    def close(self) -> None:
        """Let the connection go."""
        with self._lock:
            self._close()

    def _ask(self) -> Ranges | None:
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        try:
            if self._consumer is None:
                self._consumer = Consumer(self._config)
            found = self._consumer.list_topics(self._topic, timeout=_TIMEOUT_SECONDS).topics[self._topic]
            if found.error is not None:
                raise KafkaException(found.error)
            return {
                partition: self._consumer.get_watermark_offsets(
                    TopicPartition(self._topic, partition), timeout=max(0.1, deadline - time.monotonic())
                )
                for partition in sorted(found.partitions)
            }
        except KafkaException as error:
            logger.warning("Kafka does not tell its watermarks", topic=self._topic, error=str(error))
            # Or it would try to connect in the background for as long as the process lives.
            self._close()
            return None

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._consumer = None
