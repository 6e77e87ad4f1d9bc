"""Many callers at once, over real HTTP and through two API processes' worth of apps, cannot overdraw a budget."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from tests.api.decisions.conftest import Caller
from tests.fixtures.wait import wait_until

from costledger.api.app import create_app
from costledger.schemas.settings import Settings

USD = 10**12
CALLERS = 64
#: Each caller asks for so many jobs; together they want 3.2 times the budget.
JOBS_OF_CALLER = 5
ESTIMATE = Decimal("0.1")
BUDGET = Decimal(10)


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app on a free loopback port; its address."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, 20, "the server listens")
        (socket,) = server.servers[0].sockets
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def addresses(make_settings: Callable[..., Settings]) -> Iterator[list[str]]:
    """Two servers of one ledger and one Redis."""
    with ExitStack() as cleanup:
        yield [cleanup.enter_context(served(create_app(make_settings()))) for _ in range(2)]


def spend_the_rest(address: str, settings: Settings, user: str) -> tuple[Decimal, Counter[str]]:
    """Jobs of one caller until there is no room for another; what they spend."""
    spent, codes = Decimal(0), Counter[str]()
    with httpx.Client(base_url=address, timeout=60) as client:
        caller = Caller(client, settings, user)
        while True:
            answer = caller.decide(amount=str(ESTIMATE), reserve=True, key=f"rest-{spent}")
            codes[answer["code"]] += 1
            if answer["decision"] == "skip":
                return spent, codes
            path = f"/api/reservations/{answer['reservation_id']}"
            assert caller.post(f"{path}/settle", {"amount": str(ESTIMATE)}).json()["changed"] is True
            spent += ESTIMATE


def test_64_callers_cannot_spend_more_than_the_budget(
    addresses: list[str],
    make_settings: Callable[..., Settings],
    set_budget: Callable[..., None],
    user: str,
    seed: int,
) -> None:
    """At no moment is more held and spent than the budget; all of it is to be had; a repeated settle changes nothing."""
    settings = make_settings()
    set_budget(user, int(BUDGET) * USD)
    barrier = threading.Barrier(CALLERS)

    def work(number: int) -> tuple[Decimal, Counter[str]]:
        """What one caller spends, each of its jobs less than its estimate or as much."""
        rng = random.Random(seed * 1000 + number)
        spent, codes = Decimal(0), Counter[str]()
        with httpx.Client(base_url=addresses[number % 2], timeout=60) as client:
            caller = Caller(client, settings, user)
            barrier.wait(60)
            for job in range(JOBS_OF_CALLER):
                answer = caller.decide(amount=str(ESTIMATE), reserve=True, key=f"{number}-{job}")
                codes[answer["code"]] += 1
                if answer["decision"] == "skip":
                    continue
                others = Decimal(answer["reserved"]) + Decimal(answer["month_to_date"])
                assert others + ESTIMATE <= BUDGET
                path = f"/api/reservations/{answer['reservation_id']}"
                if rng.random() < 0.1:
                    assert caller.post(f"{path}/release").json()["changed"] is True
                    continue
                actual = ESTIMATE if rng.random() < 0.5 else ESTIMATE / 2
                bodies: list[Any] = [{"amount": str(actual)}, {"amount": str(actual)}, {"amount": "5"}]
                changed = [caller.post(f"{path}/settle", body).json()["changed"] for body in bodies]
                assert changed == [True, False, False]
                spent += actual
        return spent, codes

    with ThreadPoolExecutor(CALLERS) as pool:
        results = list(pool.map(work, range(CALLERS)))
    # Whoever settled last for less than was held may have left room when nobody asked any more.
    results.append(spend_the_rest(addresses[0], settings, user))
    spent = sum((each for each, _ in results), Decimal(0))
    codes = sum((each for _, each in results), Counter[str]())
    with httpx.Client(base_url=addresses[0], timeout=60) as client:
        reserved = Decimal(Caller(client, settings, user).decide(amount="0.000000000001")["reserved"])
    # Nothing is held any more: what counts is what was settled, each amount once.
    assert reserved == spent
    assert BUDGET - ESTIMATE < spent <= BUDGET
    assert set(codes) <= {"within_budget", "near_budget", "monthly_budget_exceeded"}
    assert codes["monthly_budget_exceeded"] > 0
