"""Producing with acknowledgement: what an outbox needs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import confluent_kafka

from costledger.schemas import topics
from costledger.schemas.errors import Unavailable
from costledger.schemas.kafka_config import client_config
from costledger.schemas.settings import Settings

logger = logging.getLogger(__name__)

ACKNOWLEDGE_SECONDS_MAX: Final = 15.0
#: Shorter than the wait for the acknowledgement: when that ends, each message's fate is known.
_MESSAGE_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be produced; without a value it deletes its key (a tombstone)."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


class Deliverer:
    """A Kafka producer that waits for acknowledgements; it connects when there is something to deliver.

    Keeps the order of messages of one key and never doubles by itself. For one thread at a time.
    """

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._producer: confluent_kafka.Producer | None = None

    def deliver(self, messages: Sequence[Outgoing]) -> None:
        """Produce messages in order and wait until Kafka has acknowledged all of them; else `Unavailable`."""
        if not messages:
            return
        if self._producer is None:
            self._producer = confluent_kafka.Producer(self._config(), logger=logger)
        failures: list[str] = []
        acknowledged = 0

        def report(error: confluent_kafka.KafkaError | None, _message: confluent_kafka.Message) -> None:
            nonlocal acknowledged
            if error is None:
                acknowledged += 1
            else:
                failures.append(str(error))

        for message in messages:
            self._producer.produce(
                message.topic, key=message.key, value=message.value, headers=list(message.headers), on_delivery=report
            )
        self._producer.flush(ACKNOWLEDGE_SECONDS_MAX)
        if acknowledged != len(messages):
            why = failures[0] if failures else "no answer"
            raise Unavailable(f"Kafka acknowledged {acknowledged} of {len(messages)} messages: {why}")

    def close(self) -> None:
        """Let the connection go; what was not acknowledged is still in its outbox."""
        if self._producer is not None:
            self._producer.purge()
            self._producer.close()
            self._producer = None

    def _config(self) -> dict[str, str | int | float | bool]:
        return {
            **client_config(self._settings, self._client_id),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "partitioner": topics.PARTITIONER,
            "linger.ms": 5,
            "message.timeout.ms": int(_MESSAGE_TIMEOUT_SECONDS * 1000),
        }
