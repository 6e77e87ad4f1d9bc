"""Settled amounts end when the totals have their events, although no tracker of this process sent them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import psycopg
import pytest
import redis
from fastapi.testclient import TestClient
from tests.api.decisions.conftest import Caller
from tests.fixtures.wait import wait_until

from costledger.api.decisions import confirmations
from costledger.api.decisions.confirmations import Confirmations, Place
from costledger.schemas.ids import new_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds

MakeSettings = Callable[..., Settings]
INSERT = """INSERT INTO ledger.entries (event_id, occurred_at, received_at, kafka_offset, kafka_partition, quantity, amount,
    user_id, service, operation, category, unit, currency, source, kafka_topic, metadata)
    VALUES (%s, %s, now(), %s, 0, 1, 1, %s, 's', 'o', 'USAGE', 'unit', 'USD', 'tests', 'cost.events', '{}')"""


def now_us() -> int:
    """Unix microseconds."""
    return time.time_ns() // 1000


class World:
    """What the sink and the stream app write: entries, and a month's total with its offset."""

    def __init__(self, database_url: str, redis_url: str, user: str) -> None:
        self.user = user
        self._ledger = psycopg.connect(database_url, autocommit=True)
        self._redis = redis.Redis.from_url(redis_url)

    def close(self) -> None:
        """Close both."""
        self._ledger.close()
        self._redis.close()

    def record(self, event_id: uuid.UUID, offset: int, user: str | None = None) -> None:
        """The sink has an event."""
        at = from_microseconds(now_us())
        self._ledger.execute(INSERT, (event_id, at, offset, user or self.user))

    def count(self, total: str, offset: int) -> None:
        """The stream app has counted all up to an offset."""
        label = period_at(PeriodKind.MONTH, now_us()).label
        picodollars = str(int(Decimal(total) * 10**12))
        key = totals_key(self.user, PeriodKind.MONTH, label)
        self._redis.hset(key, mapping={"total": picodollars, "offset": str(offset)})


@pytest.fixture
def world(ledger_url: str, redis_url: str, user: str) -> Iterator[World]:
    """The world around the test's user."""
    world = World(ledger_url, redis_url, user)
    yield world
    world.close()


def figures(caller: Caller) -> tuple[Decimal, Decimal]:
    """Month-to-date and what counts beside it."""
    answer = caller.decide(amount="0.000000000001")
    return Decimal(answer["month_to_date"]), Decimal(answer["reserved"])


def settled(caller: Caller, amount: str, event_ids: Sequence[uuid.UUID]) -> None:
    """Reserve and settle."""
    held = caller.decide(amount=amount, reserve=True)["reservation_id"]
    body = {"amount": amount, "event_ids": [str(each) for each in event_ids]}
    assert caller.post(f"/api/reservations/{held}/settle", body).status_code == 200


def test_a_settled_amount_counts_once_when_the_totals_have_its_events(caller: Caller, world: World) -> None:
    """Beside the total until the ledger has all its events and the total is complete up to the last; then in it."""
    events = [new_event_id(now_us()) for _ in range(2)]
    world.count("1", 40)
    settled(caller, "0.5", events)
    assert figures(caller) == (1, Decimal("0.5"))
    world.record(events[0], 41)
    world.count("1.2", 41)
    assert figures(caller) == (Decimal("1.2"), Decimal("0.5"))
    world.record(events[1], 43)
    world.count("1.2", 42)
    assert figures(caller) == (Decimal("1.2"), Decimal("0.5"))
    world.count("1.5", 43)
    wait_until(lambda: figures(caller) == (Decimal("1.5"), 0), 10, "the amount counts once")


def test_events_of_another_user_confirm_nothing(caller: Caller, world: World) -> None:
    """Their offsets are of another partition: an amount that names them stays counted."""
    other, own = (new_event_id(now_us()) for _ in range(2))
    world.record(other, 1, user="somebody else")
    world.count("1", 100)
    settled(caller, "0.5", [other])
    settled(caller, "0.25", [own])
    world.record(own, 99)
    wait_until(lambda: figures(caller) == (1, Decimal("0.5")), 10, "the own amount is confirmed, the other is not")


def test_a_ledger_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is logged, and what is awaited stays awaited."""
    event_id = new_event_id(now_us())
    asked: list[int] = []

    def places(event_ids: Sequence[uuid.UUID]) -> Iterable[Place]:
        asked.append(len(event_ids))
        if len(asked) == 1:
            raise psycopg.OperationalError("away")
        return [Place(each, "ann", 3, 17) for each in event_ids]

    told: list[tuple[uuid.UUID, int, int]] = []
    looking = Confirmations(places, 60, interval_seconds=0.01)
    looking.subscribe(lambda *place: told.append(place))
    looking.begin()
    looking.expect("ann", [event_id])
    wait_until(lambda: told, 10, "the event is found")
    looking.close()
    assert (told, len(looking)) == ([(event_id, 3, 17)], 0)
    assert "asked again later" in caplog.text


def test_what_is_awaited_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """In number and in time, and one question is about so many; what is past is not asked for."""
    monkeypatch.setattr(confirmations, "EVENTS_MAX", 5)
    monkeypatch.setattr(confirmations, "ASKED_AT_ONCE_MAX", 2)
    at = [0.0]
    asked: list[list[uuid.UUID]] = []

    def places(event_ids: Sequence[uuid.UUID]) -> Iterable[Place]:
        asked.append(list(event_ids))
        return []

    looking = Confirmations(places, 60, clock=lambda: at[0])
    events = [uuid.uuid4() for _ in range(7)]
    looking.expect("ann", events[:3])
    at[0] = 50.0
    looking.expect("ann", events[3:])
    assert looking.look() == 0
    assert asked == [events[2:4], events[4:6], events[6:]]
    at[0] = 61.0
    asked.clear()
    looking.look()
    assert (asked, len(looking)) == ([events[3:5], events[5:]], 4)


def test_settled_amounts_wait_no_longer_than_the_setting(
    start_app: Callable[[Settings], TestClient], make_settings: MakeSettings, user: str
) -> None:
    """Without event ids nothing confirms an amount: it ends after `COSTLEDGER_GUARD_SETTLED_HOLD_SECONDS`."""
    settings = make_settings(guard_settled_hold_seconds=1)
    caller = Caller(start_app(settings), settings, user)
    settled(caller, "0.5", [])
    assert figures(caller)[1] == Decimal("0.5")
    wait_until(lambda: figures(caller)[1] == 0, 10, "the amount ends by itself")
