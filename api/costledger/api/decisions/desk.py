"""What the routes of decisions, reservations, estimates and prices share: opened and closed with the app."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, Self
from uuid import UUID

from fastapi import Depends, FastAPI, Request

from costledger.api.decisions.confirmations import Confirmations, Place
from costledger.api.decisions.deciding import Rules
from costledger.api.decisions.price_list import PriceList
from costledger.api.services import Services
from costledger.producers.guard import RedisGuard
from costledger.producers.optimiser.limiting import check_shares
from costledger.producers.optimiser.plans import Plans
from costledger.producers.prices import PriceBook
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import Period
from costledger.schemas.settings import Settings
from costledger.sinks.budgets import get_budget
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.spend import month_to_date

logger = logging.getLogger(__name__)

#: How long a decision waits for a connection to the ledger; then it is the setting's for outages.
_LEDGER_WAIT_SECONDS: Final = 2.0
#: Open reservations of one user in one API process, which has room for 20,000 of all users.
HOLDS_OF_USER_MAX: Final = 1000
_PREPARE_INTERVAL_SECONDS: Final = 0.25


@dataclass(slots=True)
class Desk:
    """The guard, the prices and the plans. All of it blocks, and is safe to share between threads."""

    guard: RedisGuard
    rules: Rules
    price_list: PriceList
    confirmations: Confirmations
    _ended: threading.Event
    _preparing: threading.Thread

    @classmethod
    def open(cls, settings: Settings, services: Services) -> Self:
        """Read prices and plans (`PriceError`, `SettingsError`) and begin to meet Redis; waits for nothing."""
        plans = Plans.load(settings.plan_file)
        shares = check_shares(settings.plan_shares, plans)
        book = PriceBook.load(*settings.price_files)
        ledger = LedgerSource(services)
        guard = RedisGuard(
            settings.redis_url.get_secret_value(),
            budgets=ledger.budget,
            spend=ledger.month_to_date,
            # The holds are those of remote callers: they end by themselves, however long this process lives.
            renew=False,
            holds_of_user_max=HOLDS_OF_USER_MAX,
            settings=settings,
        )
        confirmations = Confirmations(ledger.places, settings.guard_settled_hold_seconds)
        guard.follow(confirmations)
        ended = threading.Event()
        preparing = threading.Thread(target=_prepare, args=(guard, ended), name="costledger-prepare", daemon=True)
        desk = cls(
            guard, Rules(book=book, plans=plans, shares=shares), PriceList(book), confirmations, ended, preparing
        )
        confirmations.begin()
        preparing.start()
        return desk

    def close(self) -> None:
        """End the threads, and tell Redis what it does not know yet."""
        self._ended.set()
        self._preparing.join()
        self.confirmations.close()
        self.guard.close()


class LedgerSource:
    """What the guard asks the ledger, over the app's own connections."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def budget(self, user_id: str) -> Budget | None:
        """The user's own budget; None where none was set."""
        with self._connection() as connection:
            return get_budget(connection, user_id)

    def month_to_date(self, user_id: str, period: Period) -> int:
        """What the ledger has of the user in a period, in 1e-12 USD."""
        with self._connection() as connection:
            return month_to_date(connection, user_id, period)

    def places(self, event_ids: Sequence[UUID]) -> Iterable[Place]:
        """Where the events lie on the topic that the ledger has."""
        with self._connection() as connection:
            rows = connection.execute(query("places_of_ids"), {"event_ids": [str(each) for each in event_ids]})
            return [Place(UUID(event_id), user, partition, offset) for event_id, user, partition, offset in rows]

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._services.pool.connection(timeout=_LEDGER_WAIT_SECONDS) as connection:
            yield connection


@contextmanager
def opened_desk(app: FastAPI, services: Services) -> Iterator[None]:
    """The app has a desk for the length of a block."""
    app.state.desk = Desk.open(services.settings, services)
    try:
        yield
    finally:
        app.state.desk.close()


def get_desk(request: Request) -> Desk:
    """The desk of the app that answers."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)  # noqa: S101 - set when the app starts
    return desk


CurrentDesk = Annotated[Desk, Depends(get_desk)]


def _prepare(guard: RedisGuard, ended: threading.Event) -> None:
    """Meet Redis, so that new users need not wait for it; until then decisions are the setting's for outages."""
    while not guard.prepare():
        if ended.wait(_PREPARE_INTERVAL_SECONDS):
            return
    logger.info("the guard has met Redis: decisions are taken on figures")
