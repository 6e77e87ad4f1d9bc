"""I6: the alerts against a replay of the topic, one event at a time, in one process that nothing happens to.

The replay uses the domain's own rules; that these are right is shown by the simulations against a naive model. Here the
question is whether what happened to the processes has added, lost or changed an alert.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Final
from uuid import UUID

from confluent_kafka import Message
from tests.fault.harness.findings import Findings
from tests.fault.harness.topics import TopicReader

from costledger.schemas.alerts import AlertRecord, CostAlert
from costledger.schemas.codec import decode_alert, decode_budget, decode_event
from costledger.schemas.errors import DecodeError, InvalidEvent
from costledger.schemas.events import check_event
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.database import Connection
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.worker import rules_of

EXAMPLES_MAX: Final = 5
_ROOT: Final = Path(__file__).resolve().parents[3]
#: The replay hands its alerts on after so many events, which changes none of them.
_FLUSH_EVENTS: Final = 10_000
#: The replay of so many events takes half a minute and more.
_ASIDE_EVENTS_MIN: Final = 500_000
#: Some tens of millions of events.
_ASIDE_SECONDS_MAX: Final = 1_500.0

#: What of an alert must be the same wherever it is kept: kind, state, severity, user, scope, threshold (percent), version
#: of the budget, actual and limit (1e-12 USD), occurred and raised (Unix microseconds), late, text.
Facts = tuple[str, str, str, str, str, Decimal | None, int | None, int, int | None, int, int, bool, str]
Replay = Callable[[], dict[UUID, Facts]]

_STORED = """
SELECT alert_id, kind, state, severity, user_id, scope, threshold_percent, budget_version,
       (actual * 1000000000000)::numeric(40, 0), ("limit" * 1000000000000)::numeric(40, 0),
       (extract(epoch FROM occurred_at) * 1000000)::bigint, (extract(epoch FROM raised_at) * 1000000)::bigint,
       late, message
FROM ledger.alerts
"""


def replayed_alerts(reader: TopicReader, settings: Settings) -> dict[UUID, Facts]:
    """The alerts of all budgets and then all events of the topics. Budgets must have been set before the events."""
    partitions: dict[int, PartitionTotals] = defaultdict(lambda: PartitionTotals(rules_of(settings)))
    alerts: dict[UUID, Facts] = {}
    for message in reader.read(settings.topics.budgets):
        value = message.value()
        user_id = (message.key() or b"").decode()
        budget = None if value is None else decode_budget(value)
        partitions[_partition(message)].apply_budget(user_id, budget, _offset(message), _time_us(message))
    waiting = 0
    for message in reader.read(settings.topics.events):
        _apply(partitions[_partition(message)], message)
        waiting += 1
        if waiting >= _FLUSH_EVENTS:
            _collect(partitions, alerts)
            waiting = 0
    _collect(partitions, alerts)
    return alerts


def stored_alerts(connection: Connection) -> dict[UUID, Facts]:
    """The alerts of the database."""
    return {alert_id: tuple(facts) for alert_id, *facts in connection.execute(_STORED)}


@contextmanager
def replaying(reader: TopicReader, settings: Settings) -> Iterator[Replay]:
    """The replay, to be asked for when it is needed; one of many events goes on in a process of its own meanwhile."""
    if sum(reader.ends(settings.topics.events).values()) < _ASIDE_EVENTS_MIN:
        yield lambda: replayed_alerts(reader, settings)
        return
    if str(_ROOT) not in sys.path:
        sys.path.append(str(_ROOT))  # the other process looks for this module where this one would
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        replay = pool.submit(_replay_aside, reader.bootstrap_servers, settings)
        yield lambda: replay.result(_ASIDE_SECONDS_MAX)


def _replay_aside(bootstrap_servers: str, settings: Settings) -> dict[UUID, Facts]:
    reader = TopicReader(bootstrap_servers)
    try:
        return replayed_alerts(reader, settings)
    finally:
        reader.close()


def check_alerts(
    findings: Findings, connection: Connection, reader: TopicReader, settings: Settings, replay: Replay | None
) -> None:
    """I6. Without `replay` (budgets changed meanwhile): topic and database agree, and nothing is told twice."""
    stored = stored_alerts(connection)
    findings.figures["alerts"] = len(stored)
    rows = connection.execute("SELECT count(*) FROM ledger.alerts").fetchone()
    findings.expect("I6", rows == (len(stored),), f"{rows} rows in the database for {len(stored)} alerts")
    told = _check_topic(findings, reader, settings)
    _compare(
        findings, "of the topic", {one: _facts_of_record(decode_alert(value)) for one, value in told.items()}, stored
    )
    if replay is not None:
        _compare(findings, "of the replay", replay(), stored)


def _compare(findings: Findings, source: str, wanted: dict[UUID, Facts], stored: dict[UUID, Facts]) -> None:
    missed = [wanted[one] for one in wanted.keys() - stored.keys()]
    invented = [stored[one] for one in stored.keys() - wanted.keys()]
    changed = [(wanted[one], stored[one]) for one in wanted.keys() & stored.keys() if wanted[one] != stored[one]]
    for what, found in (("missed", missed), ("invented", invented), ("changed", changed)):
        if found:
            findings.found("I6", f"{len(found)} alerts {source} {what}: {sorted(map(str, found))[:EXAMPLES_MAX]}")


def _check_topic(findings: Findings, reader: TopicReader, settings: Settings) -> dict[UUID, bytes]:
    """What the topic tells, by id; a repeat has to say the same."""
    told: dict[UUID, tuple[bytes, object, object]] = {}
    repeats = 0
    for message in reader.read(settings.topics.alerts):
        value = message.value() or b""
        alert = decode_alert(value)
        alert_id = UUID(str(alert["alert_id"]))
        if alert_id in told:
            repeats += 1
            same = told[alert_id] == (value, message.key(), message.headers())
            findings.expect("I6", same, f"told again with another content, key or headers: {alert}")
        told.setdefault(alert_id, (value, message.key(), message.headers()))
    findings.figures["alerts_repeated_on_topic"] = repeats
    return {alert_id: value for alert_id, (value, *_) in told.items()}


def _apply(totals: PartitionTotals, message: Message) -> None:
    received_us = _time_us(message)
    try:
        record = decode_event(message.value() or b"")
        check_event(record, received_us)
    except (DecodeError, InvalidEvent):
        totals.skip_event(_offset(message))
        return
    totals.add_event(record, _offset(message), received_us)


def _collect(partitions: dict[int, PartitionTotals], alerts: dict[UUID, Facts]) -> None:
    for totals in partitions.values():
        for alert in totals.flush().alerts:
            alerts[alert.alert_id] = _facts(alert)


def _facts(alert: CostAlert) -> Facts:
    return (
        str(alert.kind),
        str(alert.state),
        str(alert.severity),
        alert.user_id,
        alert.scope,
        alert.threshold_percent,
        alert.budget_version,
        alert.actual,
        alert.limit,
        alert.occurred_at,
        alert.raised_at,
        alert.late,
        alert.message,
    )


def _facts_of_record(record: AlertRecord) -> Facts:
    return (
        record["kind"],
        record["state"],
        record["severity"],
        record["user_id"],
        record["scope"],
        record["threshold_percent"],
        record["budget_version"],
        record["actual"],
        record["limit"],
        to_microseconds(record["occurred_at"]),
        to_microseconds(record["raised_at"]),
        record["late"],
        record["message"],
    )


def _partition(message: Message) -> int:
    return message.partition() or 0


def _offset(message: Message) -> int:
    return message.offset() or 0


def _time_us(message: Message) -> int:
    return message.timestamp()[1] * 1000
