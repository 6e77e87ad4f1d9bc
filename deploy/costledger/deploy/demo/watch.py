"""What the demo shows while it runs, read where every user of the system would read it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from costledger.schemas.alerts import AlertRecord
from costledger.schemas.codec import decode_alert
from costledger.schemas.kafka_config import client_config
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.settings import Settings
from costledger.sinks.database import connect

_MESSAGES_MAX: Final = 1000
_LAST_ALERTS_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class UserTotal:
    """What a user has spent in this month, and may spend, in 1e-12 USD."""

    user_id: str
    spent: int
    budget: int


class Watch:
    """The totals in Redis, the alerts on Kafka, the position of the ledger in PostgreSQL."""

    def __init__(self, settings: Settings, budgets: dict[str, int]) -> None:
        self._budgets = budgets
        self._alerts: list[AlertRecord] = []
        self._redis = redis.Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
        url = settings.database_url.get_secret_value()
        self._ledger = connect(url, "costledger demo", settings.database_timeout_seconds)
        self._partitions = settings.partitions
        self._consumer = Consumer(
            {
                **client_config(settings, "costledger-demo"),
                "group.id": "costledger-demo",  # demanded, but unused: the partitions are assigned here
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        topic = settings.topics.alerts
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(self._partitions)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
        self._ledger.close()
        self._redis.close()

    @property
    def alerts(self) -> list[AlertRecord]:
        """Every alert so far, in the order in which they were seen."""
        return self._alerts

    def new_alerts(self) -> list[AlertRecord]:
        """The alerts that came since the last call. Does not wait."""
        return self._read(0.0)[0]

    def last_alerts(self) -> list[AlertRecord]:
        """The alerts up to the end of the topic: waits until each partition's end was seen."""
        found: list[AlertRecord] = []
        deadline = time.monotonic() + _LAST_ALERTS_SECONDS_MAX
        # An end is reported once: assigned anew, at the same positions, each partition reports it again.
        positions = self._consumer.position(self._consumer.assignment())
        for one in positions:
            one.offset = one.offset if one.offset >= 0 else OFFSET_BEGINNING
        self._consumer.assign(positions)
        ended: set[int] = set()
        while len(ended) < self._partitions and time.monotonic() < deadline:
            alerts, ends = self._read(0.1)
            found += alerts
            ended |= ends
        return found

    def totals(self) -> list[UserTotal]:
        """Every user's total of the current month (UTC), as Redis has it."""
        label = period_at(PeriodKind.MONTH, time.time_ns() // 1000).label
        with self._redis.pipeline(transaction=False) as pipeline:
            for user_id in self._budgets:
                pipeline.hget(totals_key(user_id, PeriodKind.MONTH, label), "total")
            found = pipeline.execute()
        return [
            UserTotal(user_id, int(total or 0), budget)
            for (user_id, budget), total in zip(self._budgets.items(), found, strict=True)
        ]

    def in_ledger(self) -> int:
        """How many events the sink has taken in. (The topic of a demo begins at offset 0.)"""
        row = self._ledger.execute("SELECT coalesce(sum(next_offset), 0) FROM ledger.sink_offsets").fetchone()
        return int(row[0]) if row is not None else 0

    def _read(self, wait_seconds: float) -> tuple[list[AlertRecord], set[int]]:
        """New alerts, and the partitions whose end was reached."""
        found: list[AlertRecord] = []
        ended: set[int] = set()
        for message in self._consumer.consume(_MESSAGES_MAX, wait_seconds):
            error, partition, value = message.error(), message.partition(), message.value()
            if error is not None and error.code() == KafkaError._PARTITION_EOF and partition is not None:
                ended.add(partition)
            elif error is None and isinstance(value, bytes):
                found.append(decode_alert(value))
        self._alerts += found
        return found, ended
