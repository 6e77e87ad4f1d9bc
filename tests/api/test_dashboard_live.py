"""Who is told of what: the hub of open pages over a real ledger and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.api.alerting import store_alert
from tests.fixtures.fix_api import API_KEY, NO_KAFKA
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.fix_redis import RedisServer

from costledger.api.dashboard import live
from costledger.api.dashboard.live import LiveHub, Message, Subscription, TooManyPages
from costledger.api.services import Services
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.alert_book import snooze_alert
from costledger.sinks.budgets import save_budget
from costledger.sinks.migrations import migrate

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 5.0


async def told(page: Subscription) -> Message:
    """The next message; fails where none comes."""
    message = await page.next(PATIENCE_SECONDS)
    assert message is not None
    return message


Scenario = Callable[[LiveHub, Services], Coroutine[Any, Any, None]]


@pytest.fixture(scope="module")
def settings(postgres: PostgresServer, redis_server: RedisServer) -> Settings:
    """One ledger for the module: each test has users of its own."""
    url = postgres.create_database()
    migrate(url)
    return Settings(
        _env_file=None,
        bootstrap_servers=NO_KAFKA,
        database_url=url,
        redis_url=redis_server.empty_database(),
        api_token_key=API_KEY,
        api_timeout_seconds=5,
    )


@pytest.fixture(scope="module")
def ledger(settings: Settings) -> Iterator[Any]:
    """A superuser's connection, in autocommit mode."""
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def with_hub(settings: Settings) -> Callable[[Scenario], None]:
    """Run a scenario with a hub that asks often."""

    def run(scenario: Scenario) -> None:
        services = Services.open(settings)
        try:
            asyncio.run(scenario(LiveHub(services, POLL_SECONDS), services))
        finally:
            services.close()

    return run


def change_redis(services: Services, user: str, total: int) -> None:
    """The stream app has another total of the running month."""
    label = period_at(PeriodKind.MONTH, to_microseconds(datetime.now(UTC))).label
    services.redis.hset(totals_key(user, PeriodKind.MONTH, label), "total", total)


def add_to_roll_up(ledger: Any, user: str) -> None:
    """The sink has written something of this user."""
    ledger.execute(
        "INSERT INTO ledger.daily_totals (user_id, day, service, operation, events, unpriced, quantity, amount) "
        "VALUES (%s, current_date, 's', 'o', 1, 0, 1, 1)",
        (user,),
    )


def test_a_page_is_told_of_every_snooze(with_hub: Any, ledger: Any) -> None:
    """Also of one that is made shorter, while another alert sleeps for longer."""
    long, short = store_alert(ledger, "sleeper"), store_alert(ledger, "sleeper")
    now = datetime.now(UTC)

    async def scenario(hub: LiveHub, services: Services) -> None:
        page = hub.subscribe("sleeper")
        assert await told(page) == "live"
        for alert_id, hours in ((long, 48), (short, 24), (short, 2)):
            snooze_alert(ledger, alert_id, now + timedelta(hours=hours))
            assert await told(page) == "alerts"

    with_hub(scenario)


def test_a_page_is_told_of_its_own_user_alone(with_hub: Any, ledger: Any) -> None:
    """Costs in Redis, then in the roll-ups, then a budget: each is told to that user's pages and to nobody else's."""

    async def scenario(hub: LiveHub, services: Services) -> None:
        ada, again, bob = hub.subscribe("ada"), hub.subscribe("ada"), hub.subscribe("bob")
        assert [await told(page) for page in (ada, again, bob)] == ["live"] * 3
        change_redis(services, "ada", 10**12)
        assert [await told(page) for page in (ada, again)] == ["costs"] * 2
        # The first look at the roll-ups of a user who settles has nothing to be compared with.
        assert await told(ada) == "costs"
        add_to_roll_up(ledger, "ada")
        assert await told(ada) == "costs"
        save_budget(ledger, Budget(user_id="ada", monthly_budget=1))
        assert await told(ada) == "costs"
        assert await bob.next(POLL_SECONDS * 4) is None

    with_hub(scenario)


def test_the_roll_ups_of_quiet_users_are_not_read(with_hub: Any, ledger: Any, monkeypatch: Any) -> None:
    """Only who has had a cost lately costs a look at the ledger, and only for a while."""
    asked: list[list[str]] = []
    reading = live.read_marks
    monkeypatch.setattr(live, "read_marks", lambda *args: (asked.append(args[2]), reading(*args))[1])
    monkeypatch.setattr(live, "SETTLING_ROUNDS", 3)

    async def scenario(hub: LiveHub, services: Services) -> None:
        page = hub.subscribe("quiet")
        assert await told(page) == "live"
        change_redis(services, "quiet", 1)
        assert await told(page) == "costs"
        begun = len(asked)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(asked) < begun + 8:  # noqa: ASYNC110 - the rounds are counted, nothing tells of them
                await asyncio.sleep(POLL_SECONDS)

    with_hub(scenario)
    assert asked.count(["quiet"]) == 3
    assert asked[-1] == []


def test_pages_are_bounded(with_hub: Any, monkeypatch: Any) -> None:
    """So many of one user, so many in all; who leaves makes room."""
    monkeypatch.setattr(live, "CONNECTIONS_MAX", 3)
    monkeypatch.setattr(live, "CONNECTIONS_OF_USER_MAX", 2)

    async def scenario(hub: LiveHub, _services: Services) -> None:
        first = hub.subscribe("ada")
        hub.subscribe("ada")
        with pytest.raises(TooManyPages):
            hub.subscribe("ada")
        hub.subscribe("bob")
        with pytest.raises(TooManyPages):
            hub.subscribe("carl")
        hub.unsubscribe(first)
        hub.subscribe("carl")

    with_hub(scenario)


def test_a_source_that_is_away_is_told_once_and_its_return_too(with_hub: Any) -> None:
    """Pages keep what they show; on the return each looks at everything once. Those opened meanwhile are told too."""

    async def scenario(hub: LiveHub, services: Services) -> None:
        there, nowhere = services.redis, redis.Redis(port=9, retry=Retry(NoBackoff(), 0))
        page = hub.subscribe("away-1")
        assert await told(page) == "live"
        services.redis = nowhere
        assert await told(page) == "away"
        late = hub.subscribe("away-2")
        assert await told(late) == "away"
        assert await page.next(POLL_SECONDS * 4) is None
        services.redis = there
        assert [await told(page), await told(late)] == ["live", "live"]
        nowhere.close()

    with_hub(scenario)


def test_streams_end_when_the_process_stops(with_hub: Any) -> None:
    """An open page does not keep the process from stopping, and no new one is taken."""

    async def scenario(hub: LiveHub, services: Services) -> None:
        page = hub.subscribe("ada")
        assert await told(page) == "live"
        services.stopping.set()
        assert await told(page) == "end"
        with pytest.raises(TooManyPages):
            hub.subscribe("ada")

    with_hub(scenario)


def test_nobody_is_asked_for_when_no_page_is_open(with_hub: Any, monkeypatch: Any) -> None:
    """The task ends with the last page, and begins again with the next."""
    asked = 0
    reading = live.read_marks

    def read(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return reading(*args)

    monkeypatch.setattr(live, "read_marks", read)

    async def scenario(hub: LiveHub, _services: Services) -> None:
        page = hub.subscribe("ada")
        assert await told(page) == "live"
        hub.unsubscribe(page)
        await asyncio.sleep(POLL_SECONDS * 3)
        before = asked
        await asyncio.sleep(POLL_SECONDS * 4)
        assert asked == before
        assert await told(hub.subscribe("ada")) == "live"

    with_hub(scenario)
