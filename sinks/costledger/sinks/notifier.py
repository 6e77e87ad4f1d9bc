"""The notifier: alerts from `cost.alerts` into `ledger.alerts`, and budgets from their outbox to `cost.budgets`.

Offsets are kept by Kafka and committed after the insert: a message may come again, an alert is stored once.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import wait
from functools import partial
from typing import Final

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from prometheus_client import CollectorRegistry

from costledger.schemas.errors import Unavailable
from costledger.schemas.fail_points import reach
from costledger.schemas.memory import COLLECT_SECONDS, collect
from costledger.schemas.settings import Settings
from costledger.schemas.stopping import StopRequest
from costledger.sinks.alerts import refuse_alerts, store_alerts
from costledger.sinks.background import in_background
from costledger.sinks.batch import unread
from costledger.sinks.budgets import relay_budgets
from costledger.sinks.commits import Commits
from costledger.sinks.consuming import member_config
from costledger.sinks.database import Connection, connect
from costledger.sinks.delivery import Deliverer
from costledger.sinks.observation import NotifierMetrics
from costledger.sinks.patience import Abandoned, PatientConnection
from costledger.sinks.relay import Relay
from costledger.sinks.unreadable import UnreadableBatch, first_unreadable, unreadable_batch

logger = logging.getLogger(__name__)

_CONSUME_MESSAGES_MAX: Final = 500
_CONSUME_SECONDS: Final = 0.25
_CLOSE_SECONDS_MAX: Final = 3.0
_RELAY_SECONDS_MAX: Final = 3.0
#: How long consumption rests when the schema registry cannot be asked.
_REGISTRY_WAIT_SECONDS: Final = 1.0
#: The main loop turns at least as often as this, else the notifier is not healthy.
TURN_SECONDS_MAX: Final = 60.0


class Notifier:
    """One notifier process. `run` blocks; `stop` and `health` may be called from any thread."""

    def __init__(self, settings: Settings, registry: CollectorRegistry | None = None) -> None:
        self._settings = settings
        names = settings.topics
        self._topic = names.alerts
        self._metrics = NotifierMetrics(registry or CollectorRegistry())
        self._patient = PatientConnection(self._connect, lambda _state: self._tell_lag())
        self._commits = Commits()
        self._consumer: Consumer | None = None
        #: By partition the first offset that is not known to be stored.
        self._following: dict[int, int] = {}
        deliverer = Deliverer(settings, "costledger-notifier-budgets")
        self._relay = Relay(
            "budget relay",
            self._connect,
            lambda connection: relay_budgets(connection, deliverer, names.budgets),
            deliverer.close,
        )
        self._stopping = StopRequest()
        self._turned_at: float | None = None
        self._collected_at = time.monotonic()
        self._failure: str | None = None
        self._trouble: str | None = None
        #: By partition: a record batch that cannot be read, and its first offset that is not put aside yet.
        self._unreadable: dict[int, tuple[UnreadableBatch, int]] = {}

    def stop(self) -> None:
        """Ask `run` to return, within 10 s."""
        self._stopping.set()
        self._patient.stop()

    def health(self) -> tuple[bool, str]:
        """(whether the notifier does its work, why not or what it does)."""
        if self._failure is not None:
            return False, self._failure
        if self._turned_at is None:
            return False, "not started"
        trouble = self._trouble or self._patient.trouble or self._relay.trouble
        if trouble is not None:
            return False, trouble
        idle_seconds = time.monotonic() - self._turned_at
        if idle_seconds > TURN_SECONDS_MAX:
            return False, f"no progress for {idle_seconds:.0f} s"
        return True, f"storing alerts of {self._topic}, relaying budgets"

    def run(self) -> int:
        """Store alerts and relay budgets until stopped. Returns 0 after an orderly end, 1 after anything else."""
        config = member_config(self._settings, "costledger-notifier", self._settings.notifier_group)
        consumer = self._consumer = Consumer({**config, "on_commit": self._commits.answered}, logger=logger)
        try:
            consumer.subscribe([self._topic])
            self._relay.start()
            while not self._stopping.is_set():
                self._turned_at = time.monotonic()
                self._store(consumer, consumer.consume(_CONSUME_MESSAGES_MAX, _CONSUME_SECONDS))
                ours = {one.partition for one in consumer.assignment()}
                self._commit(consumer, self._commits.due(ours, time.monotonic()))
                self._tell_lag()
                self._collect()
        except Abandoned as error:
            logger.warning("the notifier stops without its last alerts, which will be read again: %s", error)
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"
            logger.exception("the notifier stops: what is not stored will be read again")
            return 1
        finally:
            self._relay.stop(_RELAY_SECONDS_MAX)
            wait([in_background("leaving the group", consumer.close)], timeout=_CLOSE_SECONDS_MAX)
            self._patient.close()
        return 0

    def _store(self, consumer: Consumer, messages: list[Message]) -> None:
        alerts = []
        unreadable: dict[int, int] = {}
        for message in messages:
            error, partition = message.error(), message.partition()
            if error is None:
                alerts.append(message)
            elif error.fatal():
                raise KafkaException(error)
            elif partition is not None and (first := first_unreadable(message)) is not None:
                unreadable[partition] = first
            else:
                logger.error("Kafka, partition %s: %s", partition, error)
        if alerts and not self._store_alerts(consumer, alerts):
            # What is before an unreadable batch comes again, and then the batch does.
            return
        for partition, first in unreadable.items():
            self._find_unreadable(partition, first)
        for batch, following in list(self._unreadable.values()):
            self._pass_over(consumer, batch, following)

    def _store_alerts(self, consumer: Consumer, alerts: list[Message]) -> bool:
        """Store and commit; False where they have to be read again."""
        reach("notifier.after_consume")
        for message in alerts:
            self._following.setdefault(message.partition() or 0, message.offset() or 0)
        try:
            outcome = self._patient.do(lambda connection: store_alerts(connection, self._topic, alerts))
        except Unavailable as away:
            self._read_again(consumer, alerts, away)
            return False
        self._trouble = None
        reach("notifier.after_insert")
        for refused in outcome.refused:
            logger.error(
                "no alert: partition %d offset %d of %s, put aside: %s",
                refused.partition,
                refused.offset,
                self._topic,
                refused.error,
            )
        self._metrics.stored(outcome)
        self._commit(consumer, {message.partition() or 0: (message.offset() or 0) + 1 for message in alerts})
        reach("notifier.after_commit")
        return True

    def _read_again(self, consumer: Consumer, alerts: list[Message], away: Unavailable) -> None:
        """The schema of one cannot be had now, and nothing is stored: all of them come again after a rest."""
        logger.error("%d alerts wait for a schema: %s", len(alerts), away)
        self._trouble = str(away)
        first: dict[int, int] = {}
        for message in alerts:
            first.setdefault(message.partition() or 0, message.offset() or 0)
        for partition, offset in first.items():
            self._unreadable.pop(partition, None)
            try:
                consumer.seek(TopicPartition(self._topic, partition, offset))
            except KafkaException:
                # Whoever has it now reads them; of one's own they must come again, before anything behind them is stored.
                if partition in {mine.partition for mine in consumer.assignment()}:
                    raise
        self._stopping.wait(_REGISTRY_WAIT_SECONDS)

    def _find_unreadable(self, partition: int, first: int) -> None:
        """The client cannot inflate a record batch, and by itself would read it again for ever."""
        if partition in self._unreadable:
            return
        try:
            self._unreadable[partition] = unreadable_batch(self._settings, self._topic, partition, first), first
        except Unavailable as error:
            logger.error("partition %d: %s", partition, error)  # noqa: TRY400 - passes: the client reports it again

    def _pass_over(self, consumer: Consumer, batch: UnreadableBatch, following: int) -> None:
        """Put aside a part of an unreadable batch, for it may have millions of messages; behind the last, read on.

        What was before the batch is stored. Done again, after a rebalance, it adds nothing.
        """
        partition, end = batch.partition, min(following + _CONSUME_MESSAGES_MAX, batch.end)
        refused = [unread(partition, offset, batch.reason) for offset in range(following, end)]
        self._patient.do(partial(refuse_alerts, topic=self._topic, refused=refused))
        if end < batch.end:
            self._unreadable[partition] = batch, end
            return
        del self._unreadable[partition]
        try:
            consumer.seek(TopicPartition(self._topic, partition, end))
        except KafkaException as error:
            # Not ours any more, or not ready: the client of whoever has it reports the batch again.
            logger.warning("partition %d cannot be set to offset %d: %s", partition, end, error)
            return
        self._commit(consumer, {partition: end})

    def _commit(self, consumer: Consumer, following: dict[int, int]) -> None:
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in following.items()]
        if not offsets:
            return
        self._following.update(following)
        self._commits.tried(following, time.monotonic())
        try:
            consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            logger.warning("Kafka did not take the offsets, they are committed again: %s", error)

    def _collect(self) -> None:
        """Connections that were lost are in cycles: in a process with so little to do Python would come for them after hours."""
        now = time.monotonic()
        if now - self._collected_at > COLLECT_SECONDS:
            self._collected_at = now
            collect()

    def _tell_lag(self) -> None:
        """In every turn, and while PostgreSQL is away and alerts wait."""
        if self._consumer is None:
            return
        ours = {one.partition for one in self._consumer.assignment()}
        for partition in self._following.keys() - ours:
            del self._following[partition]
        lag: dict[int, int] = {}
        for partition, following in self._following.items():
            range_known = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if range_known is not None:
                lag[partition] = max(0, range_known[1] - following)
        self._metrics.lag(lag)

    def _connect(self) -> Connection:
        settings = self._settings
        url = settings.database_url.get_secret_value()
        return connect(url, "costledger notifier", settings.database_timeout_seconds)
