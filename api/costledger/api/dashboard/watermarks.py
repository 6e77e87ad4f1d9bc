"""How many messages Kafka holds, for the operators' lag: asked seldom, and never waited for long."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock
from typing import Final

import structlog
from confluent_kafka import KafkaException

from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings
from costledger.sinks.reconcile.topic import TopicReader

logger = structlog.get_logger(__name__)

_KEPT_SECONDS: Final = 3.0
_TIMEOUT_SECONDS: Final = 2.0


class Watermarks:
    """The low and high watermark of every partition of a topic, as they were at most three seconds ago."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._settings = settings
        self._topic = topic
        self._lock = Lock()
        self._reader: TopicReader | None = None
        self._asked_at = -_KEPT_SECONDS
        self._ranges: Mapping[int, tuple[int, int]] | None = None

    def ranges(self) -> Mapping[int, tuple[int, int]] | None:
        """The watermarks by partition; None where Kafka does not say."""
        with self._lock:
            if time.monotonic() - self._asked_at >= _KEPT_SECONDS:
                self._ranges = self._ask()
                self._asked_at = time.monotonic()
            return self._ranges

    def close(self) -> None:
        """Let the connection go."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def _ask(self) -> Mapping[int, tuple[int, int]] | None:
        try:
            if self._reader is None:
                self._reader = TopicReader(self._settings, self._topic)
            return self._reader.ranges(_TIMEOUT_SECONDS)
        except (KafkaException, Unavailable) as error:
            logger.warning("Kafka does not tell its watermarks", error=str(error))
            return None
