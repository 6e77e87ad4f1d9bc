"""The stream's handler: from fetched batches to totals, alerts, dead letters, state and the Redis view.

Control flow only: what an event means is decided in `domain`, how state becomes durable in `transport`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

from redis.asyncio import Redis

from costledger.schemas.alerts import CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import decode_budget, encode_alert
from costledger.schemas.dead_letters import dead_letter_headers
from costledger.schemas.errors import DecodeError, InvalidValue, OversizeMessage
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.schemas.fail_points import reach
from costledger.schemas.topics import TopicNames
from costledger.streams.domain.adding import add_events
from costledger.streams.domain.partition import Outcome, PartitionFlush, PartitionTotals, order_of
from costledger.streams.domain.rules import Rules
from costledger.streams.instruments import Instruments
from costledger.streams.transport import Batch, Change, Flush, Output, StateRecord
from costledger.streams.transport.batches import INFLATED_BYTES_MAX, UNREADABLE
from costledger.streams.transport.records import ConsumerRecord
from costledger.streams.view import PASSING_FAILURES, PartitionView

log = logging.getLogger(__name__)

#: What a dead letter may carry; a larger message is named by its place alone. Below what a producer may send.
DEAD_LETTER_BYTES_MAX = 800_000
#: So many bytes of dead letters that wait count as much as a user whose state does.
_WEIGHT_BYTES = 4096


Refused = tuple[ConsumerRecord, DecodeError | InvalidValue]
_Decoded = TypeVar("_Decoded")


class CostHandler:
    """Totals and alerts for the partitions that this worker has been assigned."""

    def __init__(
        self,
        topics: TopicNames,
        rules: Rules,
        redis: Redis,
        redis_ttl_seconds: int,
        app_id: str,
        instruments: Instruments,
    ) -> None:
        self._topics = topics
        self._rules = rules
        self._redis = redis
        self._redis_ttl_seconds = redis_ttl_seconds
        self._app_id = app_id
        self._instruments = instruments
        self._partitions: dict[int, PartitionTotals] = {}
        self._views: dict[int, PartitionView] = {}
        self._dead_letters: dict[int, list[Output]] = {}
        self._dead_letters_weight: dict[int, int] = {}
        #: What was flushed last and is not known to be durable.
        self._unacknowledged: dict[int, PartitionFlush] = {}
        self._view_is_down = False

    def restore(self, partition: int, records: Iterable[StateRecord], is_ours: Callable[[], bool]) -> None:
        """Take over a partition with the state that was recovered."""
        totals = PartitionTotals(self._rules)
        durable_offset = -1

        def noted() -> Iterator[StateRecord]:
            nonlocal durable_offset
            for record in records:
                durable_offset = max(durable_offset, record.source_offset)
                yield record

        totals.restore(noted())
        self._partitions[partition] = totals
        self._dead_letters[partition], self._dead_letters_weight[partition] = [], 0
        self._unacknowledged[partition] = PartitionFlush(-1)
        epoch_key = f"costledger:view:{self._app_id}:{partition}:epoch"
        self._views[partition] = PartitionView(
            self._redis, epoch_key, self._redis_ttl_seconds, totals, durable_offset, is_ours
        )
        self._count_users()

    def process(self, batch: Batch) -> None:
        """Apply the records of one fetch; none of them where the schema of one cannot be had now (`Unavailable`)."""
        if batch.topic == self._topics.budgets:
            self._apply_budgets(batch)
        else:
            self._apply_events(batch)

    def flush(self, partition: int) -> Flush | None:
        """What the partition's events have led to since the last flush."""
        flushed = self._partitions[partition].flush()
        outputs = self._dead_letters[partition] + [
            _alert_output(self._topics.alerts, alert) for alert in flushed.alerts
        ]
        self._dead_letters[partition], self._dead_letters_weight[partition] = [], 0
        for alert in flushed.alerts:
            self._instruments.alerts.labels(alert.kind, alert.state).inc()
            log.info("alert %s: %s", alert.alert_id, alert.message)
        self._count_users()
        if not outputs and not flushed.groups:
            self._views[partition].changed(flushed.views)
            return None
        self._unacknowledged[partition] = flushed
        changes = [[Change(key, value) for key, value in group] for group in flushed.groups]
        return Flush(outputs, changes, flushed.source_offset)

    def renew(self, partition: int, keys: Iterable[bytes]) -> None:
        """The next flush has these state records, too."""
        self._partitions[partition].renew(keys)

    def order(self, key: bytes, value: bytes) -> int | None:
        """A budget's place on its topic: see `order_of`."""
        return order_of(key, value)

    def acknowledged(self, partition: int) -> None:
        """The last flush is durable: what it has changed may be shown."""
        flushed = self._unacknowledged[partition]
        view = self._views[partition]
        view.durable_offset = max(view.durable_offset, flushed.source_offset)
        view.changed(flushed.views)
        self._unacknowledged[partition] = PartitionFlush(-1)

    def pending(self) -> int:
        """Users with events, or a budget, since the last flush, and dead letters that wait: one for each begun 4 KiB."""
        touched = sum(totals.touched for totals in self._partitions.values())
        return touched + sum(self._dead_letters_weight.values())

    def revoke(self, partition: int) -> None:
        """Forget a partition: another worker has it now."""
        del self._partitions[partition]
        del self._views[partition]
        del self._dead_letters[partition], self._dead_letters_weight[partition]
        del self._unacknowledged[partition]
        self._count_users()

    async def flushed(self, partition: int) -> None:
        """Write the view of what is now durable."""
        view = self._views.get(partition)
        if view is not None and not self._view_is_down:
            reach("stream.before_view")
            await self._guarded(view.write())
            reach("stream.after_view")

    async def tick(self) -> None:
        """Once a second: repair the view where Redis has lost it, or was away."""
        for view in list(self._views.values()):
            await self._guarded(view.check())
            if self._view_is_down:
                break

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Redis away is no reason to stop: the view is repaired by the next tick that reaches it."""
        try:
            await work
        except PASSING_FAILURES as error:
            self._instruments.view_failures.inc()
            if not self._view_is_down:
                log.warning("Redis cannot be written (%s): its totals are stale until it is back", error)
            self._view_is_down = True
        else:
            if self._view_is_down:
                log.warning("Redis can be written again")
            self._view_is_down = False

    def _apply_events(self, batch: Batch) -> None:
        decoded, refused = _each(batch, _event_of)
        others, late = add_events(self._partitions[batch.partition], batch.records, decoded)
        outcomes = Counter(others)
        outcomes[Outcome.APPLIED] = len(batch.records) - len(refused) - len(others)
        self._instruments.count_batch(batch.partition, len(batch.records), outcomes, late)
        self._refuse(batch, refused)

    def _apply_budgets(self, batch: Batch) -> None:
        totals = self._partitions[batch.partition]
        decoded, refused = _each(batch, _budget_of)
        for message, found in zip(batch.records, decoded, strict=True):
            # Where it was refused the budget before it stays in force. Budgets come through our own API, which checks them.
            if found is not None:
                user_id, budget = found
                totals.apply_budget(user_id, budget, message.offset, message.timestamp * 1000)
        self._refuse(batch, refused)

    def _refuse(self, batch: Batch, refused: list[Refused]) -> None:
        """Send records that will never be valid to the dead-letter topic, as they came."""
        if not refused:
            return
        for message, error in refused:
            reason = getattr(error, "reason", "invalid_budget")
            letter = _dead_letter(self._topics.dead_letters, batch, message, reason, str(error))
            self._dead_letters[batch.partition].append(letter)
            size = len(letter.key or b"") + len(letter.value or b"")
            self._dead_letters_weight[batch.partition] += 1 + size // _WEIGHT_BYTES
            self._instruments.refused.labels(reason).inc()
        # One line a batch: a flood of bad records must not become a flood of lines.
        message, error = refused[0]
        place = f"{batch.topic}/{batch.partition}/{message.offset}"
        log.warning("refused %d of %d records, the first at %s: %s", len(refused), len(batch.records), place, error)

    def _count_users(self) -> None:
        self._instruments.users.set(sum(len(totals.users) for totals in self._partitions.values()))


def _each(batch: Batch, decode: Callable[[ConsumerRecord], _Decoded]) -> tuple[list[_Decoded | None], list[Refused]]:
    """What each record of a batch holds, None where it is refused, and those beside; `Unavailable` passes through."""
    decoded: list[_Decoded | None] = []
    refused: list[Refused] = []
    for message in batch.records:
        try:
            decoded.append(decode(message))
        except (DecodeError, InvalidValue) as error:
            decoded.append(None)
            # Without its traceback, whose frame holds this list: only the collector could free the message then.
            refused.append((message, error.with_traceback(None)))
    return decoded, refused


def _event_of(message: ConsumerRecord) -> ReadEvent:
    """The event of a record within its bounds; raises `DecodeError` or `InvalidEvent`."""
    return read_event(_readable(message) or b"", message.timestamp * 1000)


def _readable(message: ConsumerRecord) -> bytes | None:
    """The value of a record; raises `OversizeMessage` where its batch could not be read."""
    value: bytes | None = message.value
    if value is UNREADABLE:
        raise OversizeMessage(
            f"the record batch of the message inflates to more than {INFLATED_BYTES_MAX} bytes, or is damaged"
        )
    return value


def _budget_of(message: ConsumerRecord) -> tuple[str, Budget | None]:
    """The user and the budget of a record, None for a deletion; raises `DecodeError` or `InvalidValue`."""
    try:
        user_id = (message.key or b"").decode()
    except UnicodeDecodeError:
        raise InvalidValue("key", message.key, "the user_id of the budget, in UTF-8") from None
    value = _readable(message)
    if value is None:
        # A deletion has a key alone, whose bounds nobody else checks.
        return Budget(user_id=user_id).user_id, None
    budget = decode_budget(value)
    if budget.user_id != user_id:
        raise InvalidValue("key", user_id, "the user_id of the budget")
    return user_id, budget


def _dead_letter(topic: str, batch: Batch, message: ConsumerRecord, reason: str, error: str) -> Output:
    key, value = message.key, None if message.value is UNREADABLE else message.value
    size = len(key or b"") + len(value or b"")
    if size > DEAD_LETTER_BYTES_MAX:
        key, value = (key if size - len(value or b"") <= DEAD_LETTER_BYTES_MAX else None), None
        error = f"{error} (not repeated here: key and value have {size} bytes)"
    if key is None and value is None:
        value = b""  # the Kafka client sends no record without both
    headers = dead_letter_headers(reason, error, batch.topic, batch.partition, message.offset)
    return Output(topic, key, value, headers, partition=batch.partition)


def _alert_output(topic: str, alert: CostAlert) -> Output:
    return Output(topic, alert.user_id.encode(), encode_alert(alert), alert.cloudevents_headers())
