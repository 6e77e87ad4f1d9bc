"""The stream worker as processes, on a real Kafka and Redis: totals, alerts, dead letters, crashes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from costledger.schemas import decode_alert, encode_budget, encode_event
from costledger.schemas.budgets import Budget
from costledger.schemas.ids import new_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.topics import topic_specs
from costledger.streams import changelog_topic

USD = 10**12
PARTITIONS = 4
WORKER = "import sys; from costledger.schemas import load_settings; from costledger.streams import StreamWorker;"
WORKER += "import logging; logging.basicConfig(level=logging.INFO); sys.exit(StreamWorker(load_settings()).run())"


class StreamSystem:
    """Topics of their own, a Redis database of its own, and worker processes."""

    def __init__(self, kafka, redis_url: str, folder: Path, wait_until: Callable) -> None:
        name = kafka.unique("sys")
        self.settings = Settings(
            bootstrap_servers=kafka.bootstrap_servers,
            redis_url=redis_url,
            topic_prefix=f"{name}.",
            stream_app_id=name,
            partitions=PARTITIONS,
            stream_session_timeout_seconds=6,
        )
        embedded = kafka.kind == "embedded"
        for spec in topic_specs(self.settings.topics, changelog_topic(self.settings), PARTITIONS, 30):
            kafka.create_topic(spec.name, PARTITIONS, None if embedded else spec.config)
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.producer = Producer(
            {
                "bootstrap.servers": kafka.bootstrap_servers,
                "partitioner": "murmur2_random",
                "acks": "all",
                "linger.ms": 5,
                "message.max.bytes": 1_048_576,
                "log_level": 0,
            }
        )
        self.wait_until = wait_until
        self._folder = folder
        self._workers: list[subprocess.Popen[bytes]] = []

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        environment = {
            **os.environ,
            "COSTLEDGER_BOOTSTRAP_SERVERS": self.settings.bootstrap_servers,
            "COSTLEDGER_REDIS_URL": self.settings.redis_url.get_secret_value(),
            "COSTLEDGER_TOPIC_PREFIX": self.settings.topic_prefix,
            "COSTLEDGER_STREAM_APP_ID": self.settings.stream_app_id,
            "COSTLEDGER_PARTITIONS": str(PARTITIONS),
            "COSTLEDGER_STREAM_SESSION_TIMEOUT_SECONDS": "6",
            **more,
        }
        with (self._folder / f"worker-{len(self._workers)}.log").open("wb") as out:
            worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environment, stdout=out, stderr=out)
        self._workers.append(worker)
        return worker

    def stop(self, worker: subprocess.Popen[bytes]) -> int:
        """End a worker in an orderly way; its exit code. Before it joins the group it has nothing to end in order."""
        log = self._folder / f"worker-{self._workers.index(worker)}.log"
        self.wait_until(lambda: b"Assigned partitions" in log.read_bytes(), 30, "the worker has joined the group")
        worker.send_signal(signal.SIGTERM)
        return worker.wait(20)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """End a worker with SIGKILL."""
        worker.kill()
        worker.wait(10)

    def emit(
        self, user: str, amount: int | None, occurred_at: int, *, event_id=None, service="openai", operation="tokens"
    ) -> dict:
        """Produce one event; its record."""
        record = {
            "event_id": str(event_id or new_event_id(occurred_at)),
            "user_id": user,
            "service": service,
            "operation": operation,
            "category": "USAGE",
            "quantity": 10**9,
            "unit": "token",
            "unit_price": None,
            "price_version": None,
            "amount": amount,
            "currency": "USD",
            "occurred_at": occurred_at,
            "source": "test",
            "reverses_event_id": None,
            "metadata": {},
        }
        self.produce(encode_event(record), user)
        return record

    def produce(self, value: bytes, key: str) -> None:
        """Produce bytes as an event."""
        self.producer.produce(self.settings.topics.events, value, key.encode())

    def set_budget(self, budget: Budget) -> None:
        """Put a budget on its topic."""
        self.producer.produce(self.settings.topics.budgets, encode_budget(budget), budget.user_id.encode())
        assert self.producer.flush(10) == 0

    def read(self, topic: str) -> list:
        """Every message of a topic, to its end."""
        consumer = Consumer({"bootstrap.servers": self.settings.bootstrap_servers, "group.id": "read", "log_level": 0})
        messages = []
        try:
            for partition in range(PARTITIONS):
                place = TopicPartition(topic, partition, 0)
                _, end = consumer.get_watermark_offsets(place, timeout=10)
                consumer.assign([place])
                while end and (
                    not messages or messages[-1].partition() != partition or messages[-1].offset() < end - 1
                ):
                    messages += [message for message in consumer.consume(1000, 1) if not message.error()]
        finally:
            consumer.close()
        return messages

    def redis_totals(self) -> dict[tuple[str, str, str], int]:
        """Every total in Redis by user, kind of period and label."""
        found = {}
        for key in self.redis.scan_iter("costledger:{*}:total:*", count=1000):
            user = key[key.index("{") + 1 : key.index("}")]
            kind, label = key.split(":total:")[1].split(":", 1)
            total = self.redis.hget(key, "total")
            if total is not None:
                found[user, kind, label] = int(total)
        return found

    def await_totals(self, expected: dict[tuple[str, str, str], int], timeout_seconds: float = 60) -> None:
        """Wait until Redis has exactly these totals."""
        self.wait_until(lambda: self.redis_totals() == expected, timeout_seconds, "the totals in Redis")

    def close(self) -> None:
        """End what still runs."""
        for worker in self._workers:
            if worker.poll() is None:
                self.kill(worker)
        self.redis.close()


@pytest.fixture
def system(kafka, redis_url, tmp_path, wait_until) -> Iterator[StreamSystem]:
    """A system without workers yet."""
    made = StreamSystem(kafka, redis_url, tmp_path, wait_until)
    yield made
    made.close()


def now_us() -> int:
    """Now, as events have it."""
    return time.time_ns() // 1000


def expected_totals(records: list[dict], zone: str = "UTC") -> dict[tuple[str, str, str], int]:
    """The plain sums."""
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    for record in records:
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            label = period_at(kind, record["occurred_at"], zone).label
            totals[record["user_id"], kind, label] += record["amount"]
    return dict(totals)


def budget_alerts(system: StreamSystem) -> Counter:
    """How often each budget alert stands on the topic: (user, percent)."""
    alerts = [decode_alert(message.value()) for message in system.read(system.settings.topics.alerts)]
    return Counter(
        (alert["user_id"], int(alert["threshold_percent"])) for alert in alerts if alert["kind"] == "BUDGET_THRESHOLD"
    )


def test_totals_alerts_and_headers(system: StreamSystem) -> None:
    """Spend past 75, 90 and 100 % of a free budget, then a jump over all three: exactly these alerts."""
    system.set_budget(Budget(user_id="ann", version=1, tier="free"))
    system.set_budget(Budget(user_id="bob", version=1, monthly_budget=5 * USD))
    at = now_us()
    records = [system.emit("ann", amount, at) for amount in (3 * USD, 800_000_000_000, 800_000_000_000, USD)]
    records += [system.emit("bob", 6 * USD, at), system.emit("cid", 7 * USD, at), system.emit("cid", -USD, at)]
    records += [system.emit("dan", 20 * USD, at), system.emit("dan", 1, at)]
    assert system.producer.flush(10) == 0
    worker = system.start()
    system.await_totals(expected_totals(records))
    assert system.stop(worker) == 0

    messages = system.read(system.settings.topics.alerts)
    alerts = [decode_alert(message.value()) for message in messages]
    told = sorted(
        (alert["user_id"], alert["kind"], alert["threshold_percent"]) for alert in alerts if alert["user_id"] != "dan"
    )
    assert told == [(user, "BUDGET_THRESHOLD", percent) for user in ("ann", "bob") for percent in (75, 90, 100)]
    (spike,) = [alert for alert in alerts if alert["kind"] == "HOURLY_SPIKE"]
    assert (spike["user_id"], spike["actual"], spike["limit"]) == ("dan", 20 * USD + 1, 20 * USD)
    for message, alert in zip(messages, alerts, strict=True):
        headers = dict(message.headers())
        assert headers["ce_id"] == str(alert["alert_id"]).encode()
        assert headers["ce_subject"] == message.key() == alert["user_id"].encode()
        assert headers["ce_specversion"] == b"1.0"
    fields = system.redis.hgetall(f"costledger:{{cid}}:total:month:{period_at(PeriodKind.MONTH, at).label}")
    assert fields["service:openai"] == fields["operation:openai/tokens"] == fields["total"] == str(6 * USD)
    assert fields["updated_at"].endswith("Z")


def test_refused_events_go_to_the_dead_letter_topic_and_their_neighbours_count(system: StreamSystem) -> None:
    """Each bad event is there once, as it came, with a reason; the good ones around it are in the totals."""
    at = now_us()
    good = [system.emit("ann", USD, at)]
    system.produce(b"not avro", "ann")
    record = {
        **good[0],
        "event_id": str(new_event_id(at + 400 * 86_400_000_000)),
        "occurred_at": at + 400 * 86_400_000_000,
    }
    ahead = encode_event(record)
    system.produce(ahead, "ann")
    system.produce(b"\xc3\x01" + bytes(8) + b"x", "ann")
    good.append(system.emit("ann", USD, at))
    assert system.producer.flush(10) == 0
    worker = system.start()
    system.await_totals(expected_totals(good))
    assert system.stop(worker) == 0
    letters = {letter.value(): dict(letter.headers()) for letter in system.read(system.settings.topics.dead_letters)}
    reasons = {headers["reason"] for headers in letters.values()}
    assert reasons == {b"undecodable", b"invalid_occurred_at", b"unknown_schema"}
    assert len(system.read(system.settings.topics.dead_letters)) == 3
    assert b"10 minutes ahead" in letters[ahead]["error"]
    assert letters[ahead]["topic"] == system.settings.topics.events.encode()


def test_neither_impossible_records_nor_a_user_of_many_operations_stop_the_worker(system: StreamSystem) -> None:
    """Records that are huge or empty are refused, 25,000 operations of one user are counted, also after a restart."""
    at = now_us()
    system.produce(b"\xc3\x01" + os.urandom(1_000_000), "ann")
    system.produce(os.urandom(750_000), "ann")
    system.producer.produce(system.settings.topics.events)
    system.producer.produce(system.settings.topics.budgets, None, b"\xff")
    for number in range(25_000):
        system.emit("ann", 10**6, at, operation=f"operation-{number:05d}-of-a-name-of-usual-length")
    assert system.producer.flush(20) == 0
    worker = system.start()
    month = ("ann", "month", period_at(PeriodKind.MONTH, at).label)
    system.wait_until(lambda: system.redis_totals().get(month) == 25_000 * 10**6, 60, "the month's total in Redis")
    system.kill(worker)
    system.redis.flushdb()
    system.emit("ann", 1, at)
    assert system.producer.flush(20) == 0
    worker = system.start()
    system.wait_until(lambda: system.redis_totals().get(month) == 25_000 * 10**6 + 1, 60, "the month's total again")
    assert system.stop(worker) == 0
    sizes = sorted(len(letter.value() or b"") for letter in system.read(system.settings.topics.dead_letters))
    assert set(sizes) == {0, 750_000}


@pytest.mark.fault
@pytest.mark.slow
def test_crashes_and_restarts_change_nothing(system: StreamSystem, seed: int) -> None:
    """Ten thousand events while workers are stopped twice and killed twice: exact totals, each alert id as expected."""
    chance = random.Random(seed)
    at = now_us()
    users = [f"user-{number}" for number in range(40)]
    records: list[dict] = []

    def emit_some(count: int) -> None:
        for _ in range(count):
            amount = chance.choice([1, 10**9, chance.randrange(2 * 10**11)])
            records.append(system.emit(chance.choice(users), amount, at - chance.randrange(3 * 86_400_000_000)))
            if chance.random() < 0.02:
                repeat = chance.choice(records[-50:])
                system.produce(encode_event(repeat), repeat["user_id"])
        assert system.producer.flush(20) == 0

    def some_applied(before: int) -> bool:
        return sum(system.redis_totals().values()) > before

    def start() -> subprocess.Popen[bytes]:
        # By chance an hour may well be five times the usual one: only budgets are to be alerted of here.
        return system.start(COSTLEDGER_SPIKE_USUAL_HOURS_MIN="960")

    workers = [start(), start()]
    for end in (system.kill, system.stop, system.kill, system.stop):
        before = sum(system.redis_totals().values())
        emit_some(2000)
        system.wait_until(lambda before=before: some_applied(before), 60, "progress before the next fault")
        emit_some(500)
        end(workers.pop(0))
        workers.append(start())
    system.await_totals(expected_totals(records), 90)
    for worker in workers:
        assert system.stop(worker) == 0
    limits = {user: Budget(user_id=user).limits(Settings().budget_defaults()).thresholds for user in users}
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for record in records:
        totals[record["user_id"], period_at(PeriodKind.MONTH, record["occurred_at"]).label] += record["amount"]
    expected = Counter(
        (user, int(percent))
        for (user, _), total in totals.items()
        for percent, amount in limits[user]
        if total >= amount
    )
    ids = {decode_alert(message.value())["alert_id"] for message in system.read(system.settings.topics.alerts)}
    assert len(ids) == sum(expected.values()) > 0
    assert set(budget_alerts(system)) == set(expected)


def test_redis_that_lost_everything_is_written_again(system: StreamSystem) -> None:
    """After FLUSHALL the totals are back within ten seconds, without a new event."""
    records = [system.emit(f"user-{number}", USD, now_us()) for number in range(20)]
    assert system.producer.flush(10) == 0
    system.start()
    system.await_totals(expected_totals(records))
    system.redis.flushdb()
    system.await_totals(expected_totals(records), 10)


def test_budgets_are_read_before_events_and_changes_are_evaluated_at_once(system: StreamSystem) -> None:
    """Events that were there first are held against the budget; a lower budget alarms without a new event."""
    at = now_us()
    system.emit("ann", 9 * USD, at)
    assert system.producer.flush(10) == 0
    system.set_budget(Budget(user_id="ann", version=1, monthly_budget=1000 * USD))
    system.start()
    system.wait_until(system.redis_totals, 60, "totals")
    assert budget_alerts(system) == Counter()
    system.set_budget(Budget(user_id="ann", version=2, monthly_budget=9 * USD, alert_thresholds=(Decimal(100),)))
    system.wait_until(lambda: budget_alerts(system) == Counter({("ann", 100): 1}), 20, "the alert of the new budget")


def test_an_unusual_hour_and_a_month_that_will_exceed_its_budget_are_told(system: StreamSystem) -> None:
    """Five weeks of history in one go raise nothing; then ann's hour is an anomaly, and bob's month a forecast."""
    day = 86_400_000_000
    now = now_us()
    month, hour = period_at(PeriodKind.MONTH, now), period_at(PeriodKind.HOUR, now)
    for user in ("ann", "bob"):
        system.set_budget(Budget(user_id=user, version=1, monthly_budget=1000 * USD))
    records = [
        system.emit(user, USD // 5, hour.start_us - back * day) for back in range(38, 0, -1) for user in ("ann", "bob")
    ]
    records.append(system.emit("bob", 1, hour.start_us))
    assert system.producer.flush(10) == 0
    worker = system.start()
    system.await_totals(expected_totals(records))
    assert system.read(system.settings.topics.alerts) == []

    system.emit("ann", 4 * USD, hour.start_us)
    system.emit("ann", 4 * USD, hour.start_us)
    spent = sum(one["amount"] for one in records if one["user_id"] == "bob" and one["occurred_at"] in month)
    # Less than what is left of today, which is expected to cost as much as the days before: on the last one too.
    system.set_budget(
        Budget(user_id="bob", version=2, monthly_budget=spent + USD // 10, alert_thresholds=(Decimal(100),))
    )
    system.wait_until(lambda: len(system.read(system.settings.topics.alerts)) == 2, 30, "both alerts")
    assert system.stop(worker) == 0
    alerts = [decode_alert(message.value()) for message in system.read(system.settings.topics.alerts)]
    anomaly, forecast = sorted(alerts, key=lambda alert: alert["kind"])
    assert (anomaly["kind"], anomaly["state"], anomaly["scope"]) == ("ANOMALY", "ALARM", "service:openai")
    assert (anomaly["user_id"], anomaly["actual"]) == ("ann", 4 * USD)
    assert USD // 5 < anomaly["limit"] < USD
    assert (forecast["kind"], forecast["user_id"]) == ("FORECAST_EXCEEDED", "bob")
    assert (forecast["actual"], forecast["limit"], forecast["budget_version"]) == (spent, spent + USD // 10, 2)
