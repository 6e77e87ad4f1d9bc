"""Budgets: exact thresholds, bounds that are named, defaults by tier."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.schemas import Budget, BudgetDefaults, InvalidValue
from costledger.schemas.budgets import MONTHLY_BUDGET_MAX, parse_monthly, parse_thresholds, threshold_amount
from costledger.schemas.money import PICODOLLARS_PER_USD as USD

percents = st.integers(0, 999_990_000).map(lambda steps: Decimal(steps) / 10_000)


@given(st.integers(0, MONTHLY_BUDGET_MAX), percents)
def test_threshold_is_the_least_amount_that_reaches_it(monthly: int, percent: Decimal) -> None:
    """Exactly the percentage, rounded up: one picodollar less has not reached it."""
    amount = threshold_amount(monthly, percent)
    share = Fraction(percent) * monthly / 100
    assert amount == math.ceil(share)
    assert amount - 1 < share <= amount


@given(st.integers(0, MONTHLY_BUDGET_MAX), percents)
def test_no_decimal_context_rounds_a_threshold(monthly: int, percent: Decimal) -> None:
    """A context of three digits changes nothing."""
    expected = threshold_amount(monthly, percent)
    with decimal.localcontext(prec=3):
        assert threshold_amount(monthly, percent) == expected


def test_known_thresholds() -> None:
    """75 % of 10 USD; a third of a percent of an odd sum, rounded up; nothing of nothing."""
    assert threshold_amount(10 * USD, Decimal(75)) == 7_500_000_000_000
    assert threshold_amount(1_000_001, Decimal("33.3333")) == 333_334
    assert threshold_amount(0, Decimal(100)) == 0
    assert threshold_amount(10 * USD, Decimal(0)) == 0


@pytest.mark.parametrize(
    ("tier", "usd"), [("free", 5), ("premium", 50), ("ultimate", 200), ("default", 10), ("vip", 10)]
)
def test_defaults_by_tier(tier: str, usd: int) -> None:
    """A budget that says nothing has its tier's month, 75/90/100 percent and 20 USD an hour."""
    limits = Budget(user_id="u", tier=tier).limits(BudgetDefaults())
    assert limits.monthly == usd * USD
    assert limits.thresholds == (
        (Decimal(75), usd * USD * 3 // 4),
        (Decimal(90), usd * USD * 9 // 10),
        (Decimal(100), usd * USD),
    )
    assert limits.hourly_spike == 20 * USD


def test_what_is_set_goes_before_the_defaults() -> None:
    """Zero is set too: a budget of nothing."""
    budget = Budget(user_id="u", tier="free", monthly_budget=0, alert_thresholds=(Decimal(50),), hourly_spike_limit=0)
    limits = budget.limits(BudgetDefaults())
    assert (limits.monthly, limits.thresholds, limits.hourly_spike) == (0, ((Decimal(50), 0),), 0)


@pytest.mark.parametrize(
    ("field", "value", "limit"),
    [
        ("user_id", "", "1 to 128 printable"),
        ("user_id", "x" * 129, "1 to 128 printable"),
        ("user_id", "a\x00", "1 to 128 printable"),
        ("tier", " ", "1 to 128 printable"),
        ("tier", "a\nb", "1 to 128 printable"),
        ("version", -1, "from 0 to 2147483647"),
        ("version", 2**31, "from 0 to 2147483647"),
        ("currency", "EUR", "USD"),
        ("monthly_budget", -1, "from 0 to 10000 USD"),
        ("monthly_budget", MONTHLY_BUDGET_MAX + 1, "from 0 to 10000 USD"),
        ("monthly_budget", 5.0, "from 0 to 10000 USD"),
        ("monthly_budget", True, "from 0 to 10000 USD"),
        ("monthly_budget", Decimal("NaN"), "from 0 to 10000 USD"),
        ("hourly_spike_limit", -1, "from 0 to 10000 USD"),
        ("hourly_spike_limit", MONTHLY_BUDGET_MAX + 1, "from 0 to 10000 USD"),
        ("time_zone", "Mars/Olympus", "IANA"),
        ("alert_thresholds", (), "1 to 16 percentages"),
        ("alert_thresholds", tuple(Decimal(n) for n in range(17)), "1 to 16 percentages"),
        ("alert_thresholds", (Decimal(90), Decimal(75)), "ascending"),
        ("alert_thresholds", (Decimal(75), Decimal("75.0")), "ascending"),
        ("alert_thresholds", (Decimal(-1),), "from 0 to 99999 percent"),
        ("alert_thresholds", (Decimal(100_000),), "from 0 to 99999 percent"),
        ("alert_thresholds", (Decimal("0.00001"),), "at most 4 decimals"),
        ("alert_thresholds", (Decimal("NaN"),), "from 0 to 99999 percent"),
        ("alert_thresholds", (Decimal("Infinity"),), "from 0 to 99999 percent"),
    ],
)
def test_bounds_name_field_value_and_limit(field: str, value: Any, limit: str) -> None:
    """Each field out of its bounds is refused on construction."""
    with pytest.raises(InvalidValue, match=limit) as refused:
        Budget(**{"user_id": "u"} | {field: value})
    assert refused.value.field == field
    assert str(refused.value).startswith(f"{field} is ")


def test_bounds_are_inclusive() -> None:
    """The largest budget, the highest and lowest threshold, sixteen of them."""
    Budget(user_id="u", version=2**31 - 1)
    Budget(user_id="x" * 128, monthly_budget=MONTHLY_BUDGET_MAX, hourly_spike_limit=MONTHLY_BUDGET_MAX)
    Budget(user_id="u", alert_thresholds=(Decimal(0), Decimal("0.0001"), Decimal(99_999)))
    Budget(user_id="u", alert_thresholds=tuple(Decimal(n) for n in range(16)))


def test_typed_thresholds_are_sorted_without_repeats() -> None:
    """What a person types in any order; 75 and 75.0 are one."""
    assert parse_thresholds(["100", 75, "75.0", Decimal("0.5")]) == (Decimal("0.5"), Decimal(75), Decimal(100))


@pytest.mark.parametrize("value", [75.0, True, "NaN", "seventy", -1, "100.0001", "1E+999999", "33.33333"])
def test_typed_thresholds_out_of_bounds_are_refused(value: Any) -> None:
    """Floats, text, more than 100 percent (unless allowed), more than four decimals."""
    with pytest.raises(InvalidValue, match=r"^alert_thresholds is "):
        parse_thresholds([value])


def test_more_than_a_hundred_percent_where_allowed() -> None:
    """The setting raises the highest threshold."""
    assert parse_thresholds(["150"], Decimal(200)) == (Decimal(150),)
    with pytest.raises(InvalidValue, match="from 0 to 200 percent"):
        parse_thresholds(["200.0001"], Decimal(200))


def test_typed_budget_is_exact() -> None:
    """USD with up to 12 decimals; the field is named, and its bounds in the unit that was typed."""
    assert parse_monthly("12.345678901234") == 12_345_678_901_234
    with pytest.raises(InvalidValue, match=r"monthly_budget is 0\.1; .*floats"):
        parse_monthly(0.1)  # type: ignore[arg-type]  # what must be refused
    with pytest.raises(InvalidValue, match=r"^monthly_budget is 10000\.5; it must be from 0 to 10000 USD$"):
        parse_monthly(Decimal("10000.5"))
    with pytest.raises(InvalidValue, match=r"^hourly_spike_limit is -1; it must be from 0 to 10000 USD$"):
        parse_monthly(-1, "hourly_spike_limit")


@pytest.mark.parametrize(
    "change",
    [
        {"monthly_by_tier": {"free": 5}},
        {"monthly_by_tier": {"default": 5, "free": -1}},
        {"alert_thresholds": ()},
        {"alert_thresholds": (Decimal(100), Decimal(50))},
        {"hourly_spike_limit": -1},
    ],
)
def test_defaults_out_of_bounds_are_refused(change: dict[str, Any]) -> None:
    """What applies to everybody is checked like what applies to one."""
    with pytest.raises(InvalidValue):
        BudgetDefaults(**change)
