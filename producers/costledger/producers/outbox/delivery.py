"""Rows of the outbox to Kafka, and which of them Kafka has acknowledged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from costledger.producers.channel import producer_config
from costledger.schemas.errors import Unavailable
from costledger.schemas.kafka_config import ClientConfig
from costledger.schemas.settings import Settings

_LIBRARY_LOGGER: Final = logging.getLogger("costledger.producers.librdkafka")

#: How long one row may try to reach Kafka before its batch is given back to the table.
_MESSAGE_SECONDS_MAX: Final = 10.0
#: Longer than that: when this wait ends, each row's fate is known.
ACKNOWLEDGE_SECONDS_MAX: Final = 15.0
#: The same once the relay has been told to stop.
_DRAIN_SECONDS_MAX: Final = 4.0
_REACH_SECONDS_MAX: Final = 3.0
_FLUSH_STEP_SECONDS: Final = 0.1
_PURGE_SECONDS_MAX: Final = 2.0
#: What no repetition can cure: the row itself is at fault.
_PERMANENT: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD})


class WaitingRow(NamedTuple):
    """A row of the outbox: its place in the table, and the message."""

    id: int
    key: bytes
    value: bytes


@dataclass(slots=True)
class Outcome:
    """What became of a batch: each row is acknowledged, refused for good, or neither (`failure` says why)."""

    acknowledged: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    failure: str | None = None

    def settle(self, row_id: int, error: KafkaError | None, _message: Message | None) -> None:
        """The delivery report of one row."""
        if error is None:
            self.acknowledged.append(row_id)
        elif error.code() in _PERMANENT:
            self.refused[row_id] = error.str()
        else:
            self.failure = self.failure or error.str()

    def add(self, other: Outcome) -> None:
        """What became of other rows of the batch."""
        self.acknowledged += other.acknowledged
        self.refused |= other.refused
        self.failure = self.failure or other.failure


class _Wait:
    """How long a batch may wait for its acknowledgements: less, once the relay has been told to stop."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._deadline = time.monotonic() + ACKNOWLEDGE_SECONDS_MAX
        self._drains = False

    def over(self) -> bool:
        """Whether the time is over."""
        now = time.monotonic()
        if not self._drains and self._stopping():
            self._drains = True
            self._deadline = min(self._deadline, now + _DRAIN_SECONDS_MAX)
        return now >= self._deadline


class Deliverer:
    """One idempotent Kafka producer, made when needed and made anew after a failure. For one thread."""

    def __init__(self, settings: Settings, rows_max: int) -> None:
        self._config: ClientConfig = {
            **producer_config(settings),
            "client.id": "costledger-outbox-relay",
            "message.timeout.ms": int(_MESSAGE_SECONDS_MAX * 1000),
            "queue.buffering.max.messages": rows_max,
        }
        self._servers = settings.bootstrap_servers
        self._topic = settings.topics.events
        self._producer: Producer | None = None

    def reach(self) -> None:
        """Return when Kafka has answered since the last failure, and has the topic; else `Unavailable`."""
        if self._producer is not None:
            return
        producer = Producer({**self._config, "logger": _LIBRARY_LOGGER})
        try:
            metadata = producer.list_topics(self._topic, timeout=_REACH_SECONDS_MAX)
        except KafkaException as error:
            raise Unavailable(f"Kafka at {self._servers} does not answer: {error.args[0].str()}") from error
        problem = metadata.topics[self._topic].error
        if problem is not None:
            raise Unavailable(
                f"Kafka at {self._servers} cannot take {self._topic}: {problem.str()} "
                "(`costledger topics` creates what is missing)"
            )
        self._producer = producer

    def deliver(self, rows: Sequence[WaitingRow], stopping: Callable[[], bool]) -> Outcome:
        """Produce the rows in their order, and wait until each is acknowledged or has failed; after `reach`.

        At most `ACKNOWLEDGE_SECONDS_MAX`, and soon after `stopping` says so. After a failure the producer is given
        up with all that it still holds: some of it may have arrived.
        """
        wait = _Wait(stopping)
        outcome = self._send(rows, wait)
        # The broker refuses a whole request: only a row that it refuses alone is itself at fault.
        suspects, outcome.refused = outcome.refused, {}
        for row in rows:
            if row.id in suspects and outcome.failure is None:
                outcome.add(self._send([row], wait))
        if outcome.failure is not None:
            self.close()
        return outcome

    def _send(self, rows: Sequence[WaitingRow], wait: _Wait) -> Outcome:
        producer = self._producer
        if producer is None:
            raise Unavailable("Kafka has not been reached")
        outcome = Outcome()
        for row in rows:
            settle = partial(outcome.settle, row.id)
            try:
                producer.produce(self._topic, row.value, row.key, on_delivery=settle)
            except KafkaException as error:
                settle(error.args[0], None)
        while producer.flush(_FLUSH_STEP_SECONDS) and not wait.over():
            pass
        if len(outcome.acknowledged) + len(outcome.refused) < len(rows):
            outcome.failure = outcome.failure or "no answer"
        return outcome

    def close(self) -> None:
        """Let the producer go, with what it has not sent: its rows are still in the table."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(_PURGE_SECONDS_MAX)
