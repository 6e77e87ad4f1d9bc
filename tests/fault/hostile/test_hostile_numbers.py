"""Integers at their bounds: exact however far the sums go, or refused with field, value and limit."""

from __future__ import annotations

import pytest
from tests.fault.hostile.conftest import HostileSystem
from tests.schemas.samples import LONG_MAX, LONG_MIN
from tests.sinks.conftest import make_event

from costledger.schemas import codec
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX

pytestmark = [pytest.mark.fault, pytest.mark.long]

#: More than 64 bits hold, by a sign of each kind.
REPEATS = 5
BEYOND = {
    "amount": (LONG_MIN, -AMOUNT_PICODOLLARS_MAX - 1, AMOUNT_PICODOLLARS_MAX + 1, LONG_MAX),
    "quantity": (LONG_MIN, -QUANTITY_NANOUNITS_MAX - 1, QUANTITY_NANOUNITS_MAX + 1, LONG_MAX),
    "occurred_at": (LONG_MIN, -1, 0, LONG_MAX),
}


def test_numbers_at_their_bounds_are_exact_or_refused(hostile: HostileSystem) -> None:
    """Ledger, roll-ups, Redis and the stream's own state, which outlives a restart, hold sums beyond 64 bits exactly."""
    workers = hostile.start_all()
    expected = {}
    for user, amount in {"rich": AMOUNT_PICODOLLARS_MAX, "owed": -AMOUNT_PICODOLLARS_MAX, "one": 1}.items():
        hostile.send([make_event(user, amount=amount, quantity=QUANTITY_NANOUNITS_MAX) for _ in range(REPEATS)])
        expected[user] = REPEATS * amount
    hostile.send_raw(
        [
            (b"rich", codec._EVENTS.encode(make_event("rich").to_record() | {field: value}))
            for field, values in BEYOND.items()
            for value in values
        ]
    )
    hostile.await_read()
    errors = hostile.sql("SELECT error FROM ledger.quarantine")
    assert len(errors) == sum(map(len, BEYOND.values()))
    for field, values in BEYOND.items():
        assert sum(text.startswith(f"{field} is ") and "must be" in text for (text,) in errors) == len(values)
    check(hostile, expected)
    hostile.stop(workers[0])
    workers[0] = hostile.start("stream")
    for user in expected:
        hostile.send([make_event(user, amount=-1)])
        expected[user] -= 1
    hostile.await_read()
    check(hostile, expected)
    for worker in workers:
        hostile.stop(worker)


def check(hostile: HostileSystem, expected: dict[str, int]) -> None:
    """Entries, both roll-ups and every total of Redis say the same, to the picodollar."""
    hostile.await_reconciled()
    for table in ("entries", "hourly_totals", "daily_totals"):
        sums = hostile.sql(f"SELECT user_id, sum(amount) * 1000000000000 FROM ledger.{table} GROUP BY 1")
        assert {user: int(total) for user, total in sums} == expected
    months = {user: total for (user, kind, _), total in hostile.redis_totals().items() if kind == "month"}
    assert months == expected
