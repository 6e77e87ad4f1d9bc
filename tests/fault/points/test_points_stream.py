"""The stream app dies at each of its fail points, one life after the other: totals are exact, alerts once by id."""

from __future__ import annotations

import random
import signal
import subprocess
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Message, Producer
from tests.e2e.conftest import System
from tests.fault.points.deaths import Deaths, places_of, visits
from tests.fault.points.expelling import expel
from tests.fixtures.wait import wait_until
from tests.producers.reading import read_topic
from tests.sinks.conftest import Topic, make_event
from tests.streams.transport.transport_cluster import Record

from costledger.schemas.alerts import AlertKind
from costledger.schemas.codec import decode_alert
from costledger.schemas.events import CostEvent
from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.streams.transport import changelog_topic
from costledger.streams.transport.parts import PART_PREFIX
from costledger.streams.transport.table import decode_change
from costledger.streams.worker import TABLE_NAME

PLACES = places_of("stream")
EVENTS_OF_A_LIFE = 200
USERS = 12
#: Places that every partition with new events passes: the death is at any of them.
OFTEN = {"stream.before_process", "stream.after_process", "stream.before_state", "stream.after_state"}
TERMINATED = {"stream.before_release", "stream.after_release"}
REPAIRING = {"stream.before_repair", "stream.after_repair"}
BUDGET = Settings().budget_defaults().monthly_by_tier["default"]

Totals = dict[tuple[str, str, str], int]


class Load:
    """Events sent life by life, and what the totals must be after them."""

    def __init__(self, topic: Topic, rng: random.Random) -> None:
        self.topic = topic
        self.totals: Totals = defaultdict(int)
        self._rng = rng
        self._now = datetime.now(UTC)

    def send(self, life: int, *, rubbish: bool = True) -> None:
        """Small events of some users, one that spends a whole budget, and what is no event."""
        events = [
            self._event(f"user-{self._rng.randrange(USERS)}", self._rng.randrange(1, PICODOLLARS_PER_USD))
            for _ in range(EVENTS_OF_A_LIFE)
        ]
        events.append(self._event(f"spender-{life}", BUDGET))
        self.topic.send(events)
        if rubbish:
            self.topic.send_raw([(b"u", b"rubbish")])

    def _event(self, user: str, amount: int) -> CostEvent:
        event = make_event(user, amount=amount, occurred_at=self._now - timedelta(seconds=self._rng.randrange(1, 7200)))
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            label = period_at(kind, to_microseconds(event.occurred_at, "occurred_at")).label
            self.totals[user, kind, label] += amount
        return event

    def thresholds(self) -> set[tuple[str, str, int]]:
        """(user, month, percent) of each threshold that is reached."""
        return {
            (user, label, percent)
            for (user, kind, label), total in self.totals.items()
            for percent in (75, 90, 100)
            if kind == PeriodKind.MONTH and total * 100 >= BUDGET * percent
        }


def write_late(servers: str, changelog: str) -> None:
    """The first state of some key comes once more, behind its last, as from a worker that was cut off with it under way."""
    first: dict[tuple[int, bytes], tuple[int, Message]] = {}
    newest: dict[tuple[int, bytes], int] = {}
    for message in read_topic(servers, changelog):
        key = (message.partition() or 0, message.key() or b"")
        if not key[1].startswith(PART_PREFIX):
            offset, value = decode_change(Record(message))
            if value is not None and offset is not None:
                first.setdefault(key, (offset, message))
                newest[key] = max(newest.get(key, -1), offset)
    older = [message for key, (offset, message) in first.items() if offset < newest[key]]
    assert older, "no key has two states"
    producer = Producer({"bootstrap.servers": servers})
    late = older[0]
    producer.produce(
        changelog, key=late.key(), value=late.value(), headers=late.headers(), partition=late.partition() or 0
    )
    assert producer.flush(30) == 0


@pytest.mark.fault
@pytest.mark.timeout(900)
@visits(*PLACES)
def test_a_stream_that_dies_at_every_place_counts_every_event_once(system: System, deaths: Deaths, seed: int) -> None:
    """Redis and the recovered state are what was sent; an alert that is repeated is the same, byte for byte."""
    rng = random.Random(seed)
    servers = system.environment["COSTLEDGER_BOOTSTRAP_SERVERS"]
    group = system.environment["COSTLEDGER_STREAM_APP_ID"]
    changelog = changelog_topic(group, TABLE_NAME)
    load = Load(Topic(f"{system.topic_prefix}cost.events", servers), rng)

    def all_told() -> bool:
        return system.redis_totals() == load.totals

    def end_in_order(process: subprocess.Popen[bytes]) -> None:
        before = system.redis_totals()
        wait_until(lambda: system.redis_totals() != before, 60, "the stream has begun")
        process.send_signal(signal.SIGTERM)

    process = system.start("stream")
    for before in (-2, -1):  # states older and newer, which the next lives have to recover
        load.send(before)
        wait_until(all_told, 60, "the first totals are in Redis")
    system.kill(process)
    for life, place in enumerate(PLACES):
        expel(servers, group)
        # Else the outputs behind which it dies may be a dead letter alone, and no alert is told twice.
        load.send(life, rubbish=place != "stream.after_outputs")
        if place in REPAIRING:
            write_late(servers, changelog)
        deaths.at(
            place,
            lambda variables: system.start("stream", variables),
            visit=rng.randint(1, 2) if place in OFTEN else 1,
            provoke=end_in_order if place in TERMINATED else lambda _: None,
        )
    expel(servers, group)
    process = system.start("stream")
    wait_until(all_told, 60, "Redis has the totals of all that was sent")
    system.stop(process)
    # From the state alone: there are no new events.
    system.redis.flushdb()
    process = system.start("stream")
    wait_until(all_told, 60, "the recovered state has the totals of all that was sent")
    system.stop(process)
    check_alerts(read_topic(servers, f"{system.topic_prefix}cost.alerts"), load)


def check_alerts(messages: list, load: Load) -> None:
    """Every threshold has its alert, and none has two; deaths before the state was written may repeat one as it was."""
    times: Counter[str] = Counter()
    values: dict[str, bytes] = {}
    for message in messages:
        alert_id = str(decode_alert(message.value())["alert_id"])
        times[alert_id] += 1
        assert values.setdefault(alert_id, message.value()) == message.value()
    records = [decode_alert(value) for value in values.values()]
    found = [
        (one["user_id"], f"{one['period_start']:%Y-%m}", int(one["threshold_percent"]))
        for one in records
        if one["kind"] == AlertKind.BUDGET_THRESHOLD
    ]
    assert len(found) == len(set(found))
    assert set(found) == load.thresholds()
    assert max(times.values()) > 1  # the deaths after the alerts and before the state
