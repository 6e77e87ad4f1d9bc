"""Usage from the roll-ups, and the whole way of a lookup: cache, tracker, Kafka, sink, ledger, advice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Topic, make_event, random_events

from costledger.producers import CostTracker
from costledger.producers.dedup import ResultCache
from costledger.producers.optimiser.recommendations import CACHE_WARMING, EMBEDDING_CACHE, advise
from costledger.producers.savings import EMBEDDING_DEDUPLICATION
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import CostEvent
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.schemas.usage import UsageRow
from costledger.sinks.database import connect
from costledger.sinks.usage import read_usage

DAY = date(2026, 11, 20)


def at(day: date, hour: int, second: int = 0) -> datetime:
    """A time of a day, UTC."""
    return datetime(day.year, day.month, day.day, hour, 0, second, tzinfo=UTC)


def summed(events: list[CostEvent], user: str | None, start: date, end: date) -> list[UsageRow]:
    """What the roll-ups should say, from the events themselves."""
    sums: dict[tuple[str, str], list[int]] = {}
    for event in events:
        if (user is None or event.user_id == user) and start <= event.occurred_at.date() < end:
            values = (1, event.quantity, event.amount or 0, int(event.amount is None))
            known = sums.setdefault((event.service, event.operation), [0, 0, 0, 0])
            for place, value in enumerate(values):
                known[place] += value
    return [
        UsageRow(service=service, operation=operation, events=n, quantity=quantity, amount=amount, unpriced=unpriced)
        for (service, operation), (n, quantity, amount, unpriced) in sorted(sums.items())
    ]


@pytest.fixture
def consume(
    settings: Settings, topic: Topic, ledger: Ledger, start_sink: Callable[..., Any]
) -> Callable[[list[CostEvent]], None]:
    """Bring events into the ledger, the way all events come."""

    def bring(events: list[CostEvent]) -> None:
        topic.send(events)
        running = start_sink(settings)
        wait_until(lambda: ledger.consumed() == topic.produced, 30, "the sink has caught up")
        assert running.stop() == 0

    return bring


def test_usage_is_the_sum_of_the_events(ledger: Ledger, consume: Callable[[list[CostEvent]], None], seed: int) -> None:
    """By service and operation, of one user and of all, exact in 1e-9 units and 1e-12 USD, whatever the period."""
    events = random_events(seed, 2000, users=3)
    consume(events)
    ledger.assert_consistent()
    today = datetime.now(UTC).date()
    periods = [(today - timedelta(days=40), today + timedelta(days=1)), (today - timedelta(days=9), today)]
    with connect(ledger.url, "test", 10) as connection:
        for start, end in periods:
            for user in (None, "user-000", "user-002"):
                found = read_usage(connection, start, end, user)
                assert found == summed(events, user, start, end)
                assert len(found) == 3
        assert read_usage(connection, *periods[0], "nobody") == []
        assert read_usage(connection, today, today) == []


def test_a_period_includes_its_first_day_and_not_its_end(
    ledger: Ledger, consume: Callable[[list[CostEvent]], None]
) -> None:
    """UTC days, from midnight to midnight; only roll-ups are read."""
    first, last = at(DAY, 0), at(DAY, 23, 59)
    outside = [at(DAY - timedelta(days=1), 23, 59), at(DAY + timedelta(days=1), 0)]
    consume([make_event("u", amount=amount, occurred_at=when) for amount, when in ((1, first), (2, last))])
    consume([make_event("u", amount=100, occurred_at=when) for when in outside])
    with connect(ledger.url, "test", 10) as connection:
        (row,) = read_usage(connection, DAY, DAY + timedelta(days=1), "u")
        assert (row.amount, row.events, row.quantity) == (3, 2, 2 * 10**9)
        ledger.connection.execute("DELETE FROM ledger.daily_totals")
        assert read_usage(connection, DAY, DAY + timedelta(days=1), "u") == []


def test_sums_have_no_limit(ledger: Ledger) -> None:
    """More than any single event may hold, to the last picodollar; credits stay negative."""
    ledger.connection.execute(
        """INSERT INTO ledger.daily_totals VALUES
           ('u', %s, 's', 'o', 2, 1, 123456789012345678901.123456789, 98765432109876543210.123456789012),
           ('v', %s, 's', 'o', 1, 0, -1, -0.000000000001)""",
        (DAY, DAY),
    )
    with connect(ledger.url, "test", 10) as connection:
        (one,) = read_usage(connection, DAY, DAY + timedelta(days=1), "u")
        assert one.quantity == 123456789012345678901123456789
        assert one.amount == 98765432109876543210123456789012
        (both,) = read_usage(connection, DAY, DAY + timedelta(days=1))
        assert (both.amount, both.events, both.unpriced) == (one.amount - 1, 3, 1)
        (other,) = read_usage(connection, DAY, DAY + timedelta(days=1), "v")
        assert (other.amount, other.quantity) == (-1, -(10**9))


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [(DAY, DAY - timedelta(days=1), "end"), (at(DAY, 1), DAY, "start"), ("2026-11-20", DAY, "start")],
)
def test_a_period_that_is_none_is_refused(ledger: Ledger, start: Any, end: Any, field: str) -> None:
    """Backwards, or with times of day, which the roll-ups do not know."""
    with connect(ledger.url, "test", 10) as connection, pytest.raises(InvalidValue, match=field):
        read_usage(connection, start, end)


def test_lookups_reach_the_advice_through_the_ledger(
    kafka: KafkaServer,
    names: TopicNames,
    settings: Settings,
    ledger: Ledger,
    redis_url: str,
    start_sink: Callable[..., Any],
) -> None:
    """Embeddings through a cache, told to Kafka, rolled up: the hit rate and the saving are those of the very lookups."""
    # 1,000,000 tokens at 0.02 USD.
    tokens, cost = 1_000_000, 2 * 10**10
    with (
        CostTracker(kafka.bootstrap_servers, "tests", topic=names.events) as tracker,
        ResultCache(
            "embedding",
            service="openai",
            operation="embedding-text-embedding-3-small",
            redis_url=redis_url,
            tracker=tracker,
        ) as cache,
    ):

        def embed(text: str) -> list[float]:
            def work() -> list[float]:
                tracker.track_embedding("user-1", "text-embedding-3-small", tokens)
                return [1.0, 2.0]

            return cache.run("user-1", text, work, cost=cost)

        for text in ("a", "b", "a", "c", "a", "b", "a", "a"):
            assert embed(text) == [1.0, 2.0]
        cache.flush()
        assert tracker.flush(30) == 0
        # Three embeddings, and a summary each of hits, misses and savings; more if the hour has turned meanwhile.
        produced = tracker.stats()["acked"]
        assert 6 <= produced <= 9
    start_sink(settings)
    wait_until(lambda: ledger.consumed() == produced, 30, "the sink has caught up")
    ledger.assert_consistent()
    assert ledger.one("SELECT sum(amount) FROM ledger.entries WHERE service = 'costledger'") == 0
    today = datetime.now(UTC).date()
    with connect(ledger.url, "test", 10) as connection:
        rows = read_usage(connection, today - timedelta(days=1), today + timedelta(days=1), "user-1")
    advice = advise(rows)
    assert advice.total == 3 * cost
    assert (advice.cache_hits, advice.cache_misses, advice.cache_hit_rate) == (5, 3, Decimal("62.50"))
    assert advice.measured_saving == 5 * cost
    strategy = next(one for one in advice.strategies if one.name == EMBEDDING_DEDUPLICATION)
    assert (strategy.measured_saving, strategy.applicable_cost) == (5 * cost, 3 * cost)
    assert strategy.estimated_saving == 3 * cost * 30 // 100
    assert [one.code for one in advice.recommendations] == [EMBEDDING_CACHE, CACHE_WARMING]
    assert advice.efficiency_score == 100
    counted = [cache.counted("user-1", (today - timedelta(days=ago)).isoformat()) for ago in (0, 1)]
    for name, expected in (("hits", 5), ("misses", 3), ("saved", 5 * cost)):
        assert sum(day[name] for day in counted) == expected
