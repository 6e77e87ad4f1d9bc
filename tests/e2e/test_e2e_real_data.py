"""Real input through the whole system: a production trace and a cloud bill, compared with a straight computation."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

DATA = Path(os.environ.get("COSTLEDGER_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
TRACE = DATA / "azure_llm_trace_code_2023.csv"
BILL = DATA / "focus_1_0_sample.csv"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TRACE.exists(), reason=f"no real data in {DATA}: set COSTLEDGER_REAL_DATA"),
]
#: USD per token of gpt-4: 30 and 60 USD per million.
INPUT_PRICE, OUTPUT_PRICE = Decimal("0.00003"), Decimal("0.00006")


def trace_rows() -> list[dict[str, str]]:
    """The rows of the trace."""
    with TRACE.open(newline="") as file:
        return list(csv.DictReader(file))


def bill_rows() -> list[dict[str, str]]:
    """The rows of the bill."""
    with BILL.open(newline="") as file:
        return list(csv.DictReader(file))


def trace_costs(users: int) -> dict[str, Decimal]:
    """What each user of the trace costs, straight from the CSV."""
    costs: dict[str, Decimal] = defaultdict(Decimal)
    for number, row in enumerate(trace_rows()):
        cost = int(row["ContextTokens"]) * INPUT_PRICE + int(row["GeneratedTokens"]) * OUTPUT_PRICE
        costs[f"user-{number % users:04d}"] += cost
    return dict(costs)


def bill_costs() -> dict[tuple[str, str], Decimal]:
    """BilledCost by SubAccountId and ServiceName, straight from the CSV."""
    costs: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for row in bill_rows():
        costs[row["SubAccountId"], row["ServiceName"]] += Decimal(row["BilledCost"])
    return dict(costs)


def test_both_files_arrive_to_the_last_picodollar(system) -> None:
    """Ledger, roll-ups and analyst views equal the CSVs; a second import adds nothing; history raises no alert."""
    system.start_all()
    for _ in range(2):
        system.run("import", "llm-trace", str(TRACE), "--model", "gpt-4", "--users", "50")
        system.run("import", "focus", str(BILL))
        system.await_entries(2 * 8819 + 500)
        report = system.await_reconciled()
    assert report["duplicates"] == 2 * 8819 + 500

    by_user = dict(
        system.sql("SELECT user_id, sum(amount) FROM ledger.entries WHERE service = 'openai' GROUP BY user_id")
    )
    assert by_user == trace_costs(50)
    for query in (
        "SELECT user_id, service, sum(amount) FROM ledger.entries WHERE service <> 'openai' GROUP BY 1, 2",
        "SELECT user_id, service, sum(amount) FROM ledger.daily_totals WHERE service <> 'openai' GROUP BY 1, 2",
        "SELECT user_id, service, sum(amount) FROM ledger.hourly_totals WHERE service <> 'openai' GROUP BY 1, 2",
        'SELECT "SubAccountId", "ServiceName", sum("BilledCost") FROM analyst.focus '
        "WHERE \"ServiceName\" <> 'openai' GROUP BY 1, 2",
    ):
        rows = system.sql(query)
        assert {(user, service): amount for user, service, amount in rows} == bill_costs(), query
    assert system.value("SELECT sum(amount) FROM analyst.costs WHERE service <> 'openai'") == Decimal("5.98839374320")
    assert system.value("SELECT count(*) FROM ledger.entries WHERE category = 'CREDIT' AND amount < 0") == 1
    assert system.value("SELECT count(*) FROM ledger.alerts") == 0
    assert system.redis_totals() == {}


def test_the_trace_as_of_now_raises_exactly_the_alerts_of_a_straight_computation(system) -> None:
    """With 20 users and the default budget of 10 USD: each threshold that a user's month reaches, once."""
    # A time of our own rather than `now`, so that the expectation has the same months.
    last = datetime.now(UTC).replace(microsecond=0)
    system.start_all()
    shift_to = ("--shift-to", last.isoformat())
    for _ in range(2):
        # The second import repeats every event: neither the ledger nor the real-time totals may count one again.
        system.run("import", "llm-trace", str(TRACE), "--model", "gpt-4", "--users", "20", *shift_to)
        system.await_entries(2 * 8819)
        report = system.await_reconciled()
    assert report["duplicates"] == 2 * 8819

    rows = trace_rows()
    parse = lambda text: datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)  # noqa: E731
    shift: timedelta = last - parse(rows[-1]["TIMESTAMP"])
    months: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for number, row in enumerate(rows):
        month = f"{parse(row['TIMESTAMP']) + shift:%Y-%m}"
        cost = int(row["ContextTokens"]) * INPUT_PRICE + int(row["GeneratedTokens"]) * OUTPUT_PRICE
        months[f"user-{number % 20:04d}", month] += cost
    expected = Counter(
        (user, month, percent)
        for (user, month), cost in months.items()
        for percent in (75, 90, 100)
        if cost >= Decimal(10) * percent / 100
    )
    query = (
        "SELECT user_id, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM'), threshold_percent::int "
        "FROM ledger.alerts WHERE kind = 'BUDGET_THRESHOLD'"
    )
    system.wait_until(lambda: len(system.sql(query)) >= sum(expected.values()), 30, "the alerts in the ledger")
    assert Counter(system.sql(query)) == expected
    assert sum(expected.values()) > 0


def test_the_cli_says_what_it_imported(system) -> None:
    """The report of an import has the number of events and the exact total."""
    report = system.run_json("import", "focus", str(BILL))
    assert report["events"] == 500
    assert Decimal(report["total_usd"]) == Decimal("5.98839374320")
    assert json.dumps(report)
