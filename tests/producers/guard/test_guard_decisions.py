"""The rule of decisions: every number and both sentences of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.guard import Decision, Reservation, Shares, Verdict, decide
from costledger.producers.guard.decisions import (
    MONTHLY_EXCEEDED,
    NEAR_BUDGET,
    SINGLE_EXCEEDED,
    WITHIN_BUDGET,
    ZERO_COST,
)
from costledger.schemas.errors import InvalidValue

USD = 10**12
MONTHLY = "Monthly budget would be exceeded"
SINGLE = "Single operation cost exceeds 10% of monthly budget"
ANY_SHARE = Shares(single=Decimal(100), warn=Decimal(100))


@pytest.mark.parametrize(
    ("spent", "reserved", "estimate", "expected"),
    [
        # More than the month's budget, by what was spent, what is reserved, or the estimate.
        (9 * USD, 0, USD + 1, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        (0, 10 * USD, 1, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        (10 * USD, 0, 1, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        (12 * USD, 0, 1, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        (5 * USD, 4 * USD + 1, USD, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        # Exactly the budget is not more.
        (5 * USD, 4 * USD, USD, (Verdict.WARN, NEAR_BUDGET, "90% of monthly budget would be used")),
        # More than 10 % of the budget in one operation; exactly 10 % is not more.
        (0, 0, USD + 1, (Verdict.SKIP, SINGLE_EXCEEDED, SINGLE)),
        (0, 0, USD, (Verdict.ALLOW, WITHIN_BUDGET, "Within budget")),
        # Both: the month comes first.
        (9 * USD, 0, 2 * USD, (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)),
        # From 90 % of the budget on.
        (8 * USD, 0, USD, (Verdict.WARN, NEAR_BUDGET, "90% of monthly budget would be used")),
        (8 * USD, 0, USD - 1, (Verdict.ALLOW, WITHIN_BUDGET, "Within budget")),
        # Zero-cost work always runs, and a credit makes room.
        (99 * USD, 0, 0, (Verdict.ALLOW, ZERO_COST, "The work costs nothing")),
        (-5 * USD, 0, USD, (Verdict.ALLOW, WITHIN_BUDGET, "Within budget")),
    ],
)
def test_the_rule_on_a_budget_of_ten_dollars(spent: int, reserved: int, estimate: int, expected: tuple) -> None:
    """Month-to-date + reserved + estimate against the *monthly* budget, and the estimate against a tenth of it."""
    assert decide(estimate=estimate, month_to_date=spent, reserved=reserved, budget=10 * USD) == expected


def test_a_budget_of_nothing_allows_only_what_costs_nothing() -> None:
    """A budget of 0 is a budget."""
    assert decide(estimate=0, month_to_date=0, reserved=0, budget=0)[0] is Verdict.ALLOW
    assert decide(estimate=1, month_to_date=0, reserved=0, budget=0) == (Verdict.SKIP, MONTHLY_EXCEEDED, MONTHLY)


def test_shares_are_settings() -> None:
    """The sentence tells the share that is in force, as it was written."""
    verdict, code, reason = decide(
        estimate=3, month_to_date=0, reserved=0, budget=100, shares=Shares(single=Decimal("2.5"))
    )
    assert (verdict, code) == (Verdict.SKIP, SINGLE_EXCEEDED)
    assert reason == "Single operation cost exceeds 2.5% of monthly budget"
    assert decide(estimate=100, month_to_date=0, reserved=0, budget=100, shares=ANY_SHARE)[0] is Verdict.WARN


def test_a_negative_estimate_is_refused() -> None:
    """It would make room that is not there."""
    with pytest.raises(InvalidValue, match=r"estimate.*-1.*0 or more"):
        decide(estimate=-1, month_to_date=0, reserved=0, budget=1)


@given(
    st.integers(0, 10**18),
    st.integers(-(10**18), 10**18),
    st.integers(0, 10**18),
    st.integers(0, 10**16),
    st.decimals(Decimal("0.01"), 100, places=2),
    st.decimals(Decimal("0.01"), 100, places=2),
)
def test_the_rule_is_exact(
    estimate: int, spent: int, reserved: int, budget: int, single: Decimal, warn: Decimal
) -> None:
    """To the last 1e-12 USD, for any share, as fractions say."""
    verdict, code, _ = decide(
        estimate=estimate,
        month_to_date=spent,
        reserved=reserved,
        budget=budget,
        shares=Shares(single=single, warn=warn),
    )
    total = spent + reserved + estimate
    if estimate == 0:
        assert code == ZERO_COST
    elif total > budget:
        assert code == MONTHLY_EXCEEDED
    elif estimate > Fraction(single) * budget / 100:
        assert code == SINGLE_EXCEEDED
    elif total >= Fraction(warn) * budget / 100:
        assert code == NEAR_BUDGET
    else:
        assert code == WITHIN_BUDGET
    assert (verdict is Verdict.SKIP) == (code in (MONTHLY_EXCEEDED, SINGLE_EXCEEDED))


def test_a_reservation_is_json() -> None:
    """An API can hand it on as it is."""
    decision = Decision(
        verdict=Verdict.WARN,
        code=NEAR_BUDGET,
        reason="90% of monthly budget would be used",
        estimate=1,
        month_to_date=5,
        reserved=3,
        budget=9,
        budget_version=2,
        period="2026-11",
    )
    assert (decision.remaining, decision.may_run) == (1, True)
    text = json.dumps(asdict(Reservation(user_id="ann", reservation_id="0" * 32, decision=decision)))
    assert json.loads(text)["decision"]["verdict"] == "warn"
