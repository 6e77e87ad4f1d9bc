"""What the pages say: figures of answers and budgets in words, whatever they are."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costledger.api.dashboard.alert_views import alert_views, efficiency_view
from costledger.api.dashboard.breakdown import breakdown_view
from costledger.api.dashboard.budget_form import BudgetForm, form_of, parse_form, placeholders_of
from costledger.api.dashboard.operator_views import partition_rows, signs, user_rows
from costledger.api.dashboard.rendering import render
from costledger.api.dashboard.view_models import costs_view, month_view, newest_total, summary_view
from costledger.api.models.analytics import CostsAnswer, Current, Detail, Forecast, HistoryPeriod
from costledger.schemas.budgets import Budget, BudgetDefaults
from costledger.schemas.money import PICODOLLARS_PER_USD, usd_text
from costledger.sinks.alert_book import AlertEntry
from costledger.sinks.oversight import PartitionState, UserSpend

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
AMOUNTS = st.integers(-(10**24), 10**24).map(usd_text)
NAMES = st.text(min_size=1, max_size=20).filter(str.isprintable)
ALERT = AlertEntry(
    alert_id=UUID(int=1),
    kind="BUDGET_THRESHOLD",
    state="ALARM",
    severity="WARNING",
    user_id="ada",
    scope="total",
    period_start=START,
    period_end=END,
    threshold_percent=Decimal(75),
    actual=Decimal(1),
    limit=Decimal(1),
    currency="USD",
    budget_version=1,
    occurred_at=NOW,
    raised_at=NOW,
    late=False,
    message="75 % is spent",
    acknowledged_at=None,
    acknowledged_by=None,
    snoozed_until=None,
)


def answer(
    total: str = "0.00", live: str | None = None, forecast: Forecast | None = None, **other: object
) -> CostsAnswer:
    """An answer for November 2026."""
    values = {
        "user_id": "ada",
        "period": "month",
        "currency": "USD",
        "time_zone": "UTC",
        "generated_at": NOW,
        "current": Current(
            start=START,
            end=END,
            total=total,
            by_service={},
            by_operation={},
            unpriced_events=0,
            trend_percent="0.00",
            trend_to_date_percent="-12.50",
            live_total=live,
        ),
        "history": [HistoryPeriod(start=START, end=END, total=total, by_service={})],
        "forecast": forecast,
        "recommendations": [],
        "efficiency_score": None,
        "detailed": [],
    }
    return CostsAnswer.model_validate({**values, **other})


def limits(usd: int, *percents: int) -> object:
    """A budget's limits."""
    thresholds = tuple(Decimal(percent) for percent in percents) or None
    return Budget(user_id="ada", monthly_budget=usd * PICODOLLARS_PER_USD, alert_thresholds=thresholds).limits(
        BudgetDefaults()
    )


@pytest.mark.parametrize(
    ("total", "budget", "standing", "words", "left"),
    [
        ("0.00", 10, "calm", "Within budget", "$10.00 left"),
        ("7.49", 10, "calm", "Within budget", "$2.51 left"),
        ("7.50", 10, "warning", "75 % reached", "$2.50 left"),
        ("9.99", 10, "warning", "90 % reached", "$0.01 left"),
        ("10.00", 10, "over", "Budget used up", "$0.00 left"),
        ("10.000000000001", 10, "over", "Over budget", "under $0.000001 over"),
        ("-3.00", 10, "calm", "Within budget", "$13.00 left"),
        ("0.00", 0, "calm", "Within budget", "$0.00 left"),
        ("0.01", 0, "over", "Over budget", "$0.01 over"),
    ],
)
def test_how_a_month_stands(total: str, budget: int, standing: str, words: str, left: str) -> None:
    """Thresholds are reached exactly, a budget of nothing is over with the first cost, credits leave more."""
    view = summary_view(answer(total), limits(budget))  # type: ignore[arg-type]  # made above
    assert (view.standing, view.standing_text, view.left) == (standing, words, left)
    assert view.trend == "−12.5 %"


def test_the_newest_total_is_shown() -> None:
    """Redis is ahead of the ledger, or was lost: then the ledger's total stands."""
    assert newest_total(answer("5.00", live="6.50")) == Decimal("6.50")
    assert newest_total(answer("5.00", live="0.10")) == 5
    assert newest_total(answer("5.00")) == 5


@given(
    history=st.lists(st.dictionaries(NAMES, AMOUNTS, max_size=8), min_size=1, max_size=4),
    details=st.lists(st.tuples(NAMES, NAMES, AMOUNTS, st.integers(0, 10**12)), max_size=8),
    ends=st.none() | st.tuples(AMOUNTS, AMOUNTS, AMOUNTS),
    budget=st.integers(0, 10_000),
    days=st.lists(AMOUNTS.map(Decimal), min_size=1, max_size=24),
)
@settings(max_examples=40, deadline=None)
def test_any_answer_makes_a_page(
    history: list[dict[str, str]],
    details: list[tuple[str, str, str, int]],
    ends: tuple[str, str, str] | None,
    budget: int,
    days: list[Decimal],
) -> None:
    """Huge, tiny, negative and missing figures, and names of any characters: a page without a number that is none."""
    periods = [
        HistoryPeriod(
            start=START + timedelta(days=number),
            end=START + timedelta(days=number + 1),
            total=usd_text(sum(int(Decimal(one) * PICODOLLARS_PER_USD) for one in by_service.values())),
            by_service=by_service,
        )
        for number, by_service in enumerate(history)
    ]
    forecast = None
    if ends is not None:
        low, total, high = sorted(ends, key=Decimal)
        forecast = Forecast(total=total, low=low, high=high, interval_percent=80, method="m", history_days=1)
    detailed = [
        Detail(service=service, operation=operation, count=count, total=total, average=total, maximum=None, units=str(count), unpriced_events=count)
        for service, operation, total, count in details
    ]  # fmt: skip
    given_answer = answer(periods[-1].total, forecast=forecast, history=periods, detailed=detailed, period="day")
    limit = limits(budget)
    context = {
        "own": True,
        "user_id": "ada",
        "user_query": "",
        "time_zone": "UTC",
        "csrf": "x",
        "period_names": {"day": "7 days"},
        "summary": summary_view(given_answer, limit),  # type: ignore[arg-type]  # made above
        "costs": costs_view(given_answer),
        "month": month_view(given_answer, days, limit),  # type: ignore[arg-type]  # made above
        "breakdown": breakdown_view(detailed),
        "efficiency": efficiency_view("55.5"),
        "recommendations": (),
    }
    page = render("parts_costs.html", context)
    places = re.findall(r' (?:x|y|x1|x2|y1|y2|cx|cy|width|height)="([^"]*)"', page)
    points = [
        place for text in re.findall(r' points="([^"]*)"', page) for pair in text.split() for place in pair.split(",")
    ]
    assert places
    assert all(math.isfinite(float(place)) for place in places + points)


def test_alerts_in_the_order_of_what_is_to_be_done() -> None:
    """Open ones first; acknowledged, silent and finished ones below, each saying so."""
    early = NOW - timedelta(hours=5)
    views = alert_views(
        [
            replace(ALERT, message="acknowledged", acknowledged_at=NOW),
            replace(ALERT, message="silent", snoozed_until=NOW + timedelta(hours=1)),
            replace(ALERT, message="over", state="OK"),
            replace(ALERT, message="older", raised_at=early),
            replace(ALERT, message="woken", snoozed_until=NOW - timedelta(seconds=1), severity="CRITICAL"),
        ],
        NOW,
    )
    assert [(view.message, view.handling) for view in views[:2]] == [("woken", "open"), ("older", "open")]
    assert {(view.message, view.handling) for view in views[2:]} == {
        ("acknowledged", "acknowledged"),
        ("silent", "snoozed"),
        ("over", "over"),
    }
    assert views[0].tone == "critical"


def form(**fields: str) -> BudgetForm:
    """A form with these fields, the others empty."""
    values = {"monthly_budget": "", "alert_thresholds": "", "time_zone": "", "hourly_spike_limit": "", **fields}
    return BudgetForm(**values, version=0)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"monthly_budget": "-1"}, "monthly_budget", "from 0 to 10000 USD"),
        ({"monthly_budget": "ten"}, "monthly_budget", "plain digits"),
        ({"monthly_budget": "1e3"}, "monthly_budget", "plain digits"),
        ({"monthly_budget": "٥"}, "monthly_budget", "plain digits"),
        ({"monthly_budget": "0.0000000000001"}, "monthly_budget", "at most 12 decimals"),
        ({"hourly_spike_limit": "1e999999"}, "hourly_spike_limit", "plain digits"),
        ({"alert_thresholds": "50, x"}, "alert_thresholds", "a decimal number"),
        ({"alert_thresholds": "101"}, "alert_thresholds", "from 0 to 100 percent"),
        ({"alert_thresholds": " , "}, "alert_thresholds", "1 to 16 percentages"),
        ({"time_zone": "../etc/passwd"}, "time_zone", "IANA"),
        ({"hourly_spike_limit": "20000"}, "hourly_spike_limit", "from 0 to 10000 USD"),
    ],
)
def test_what_is_wrong_with_a_form_is_said_beside_the_field(fields: dict[str, str], field: str, words: str) -> None:
    """The field, and what it may hold; what was typed is kept."""
    parsed = parse_form(form(**fields), Budget(user_id="ada"), Decimal(100))
    assert isinstance(parsed, BudgetForm)
    assert list(parsed.errors) == [field]
    assert words in parsed.errors[field]
    assert getattr(parsed, field) == fields[field]


def test_a_form_is_read_generously() -> None:
    """Dollar signs, percent signs and any spacing; empty fields are the defaults."""
    parsed = parse_form(
        form(monthly_budget=" $12.50 ", alert_thresholds="90%; 50 % 50"),
        Budget(user_id="ada", tier="free"),
        Decimal(100),
    )
    assert isinstance(parsed, Budget)
    assert (parsed.monthly_budget, parsed.alert_thresholds) == (12_500_000_000_000, (Decimal(50), Decimal(90)))
    assert (parsed.time_zone, parsed.hourly_spike_limit, parsed.tier) == ("UTC", None, "free")


@given(
    monthly=st.none() | st.integers(0, 10**16),
    thresholds=st.none() | st.lists(st.integers(0, 10**6), min_size=1, max_size=16, unique=True),
)
def test_a_form_gives_back_its_budget(monthly: int | None, thresholds: list[int] | None) -> None:
    """What is shown and saved again is the same budget, to the last digit."""
    percents = None if thresholds is None else tuple(sorted((Decimal(one) / 10_000).normalize() for one in thresholds))
    budget = Budget(user_id="ada", monthly_budget=monthly, alert_thresholds=percents, time_zone="Asia/Kolkata")
    assert parse_form(form_of(budget), budget, Decimal(100)) == budget
    assert placeholders_of(budget, BudgetDefaults()).monthly_budget == "10.00"


def test_operators_see_what_is_wrong() -> None:
    """Lag, offsets without an explanation, a silent Kafka or Redis: each in its own words."""
    state = PartitionState(0, 90, 90, 80, 5, 4, 0, 1, NOW - timedelta(minutes=3), NOW)
    rows = partition_rows([state], {0: (0, 100), 1: (5, 7)}, NOW)
    assert [(row.partition, row.lag, row.moved) for row in rows] == [(0, 10, "3 min ago"), (1, 2, "never")]
    told = {sign.name: (sign.tone, sign.text) for sign in signs(rows, {"undecodable": 3}, [], kafka=True, redis=False)}
    assert told["Sink"] == ("warning", "12 events behind Kafka")
    assert told["Completeness"] == ("bad", "1 offset is not accounted for")
    assert told["Real time"][0] == "bad"
    assert told["Quarantine"] == ("warning", "3 waiting for a fix")
    silent = signs(partition_rows([state], None, NOW), {}, [], kafka=False, redis=True)
    assert ("Kafka", "bad") in {(sign.name, sign.tone) for sign in silent}


def test_users_without_a_budget_of_their_own() -> None:
    """The tier's default; unknown tiers have that of everybody else."""
    users = [
        UserSpend("a", "free", Decimal(5), 1, 0, None, 0),
        UserSpend("b", "unheard-of", Decimal(5), 1, 0, None, 0),
        UserSpend("c", "free", Decimal(1), 1, 0, Decimal(0), 2),
    ]
    rows = user_rows(users, BudgetDefaults())
    assert [(row.budget.text, row.share, row.tone) for row in rows] == [
        ("$5.00", "100 %", "warning"),
        ("$10.00", "50 %", "calm"),
        ("$0.00", "–", "over"),
    ]
