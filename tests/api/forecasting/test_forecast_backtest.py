"""How good the forecast is on generated series of known kinds, beside the naive run rate."""

from __future__ import annotations

import pytest
from tests.api.forecasting.backtest import ALL, Summary, run_backtest, summaries
from tests.api.forecasting.series import KINDS
from tests.fixtures.fix_report import add_test_note

ROUNDS = 25
#: Weighted error as a share of the run rate's, at most. A launch is young: its run rate is nearly all there is.
ERROR_RATIO_MAX = {
    "flat": 0.7,
    "weekday": 0.5,
    "trend": 0.7,
    "intermittent": 0.9,
    "pauses": 1.05,
    "level_shift": 0.9,
    "launch": 1.1,
    "month_start": 0.4,
    "outliers": 0.9,
    "credits": 0.9,
    ALL: 0.6,
}
COVERAGE_PERCENT = (70, 92)
#: Of one kind: what bends more than a damped trend, or pauses at random, is beyond any method now and then.
COVERAGE_PERCENT_MIN = 60


@pytest.fixture
def found(seed: int, request: pytest.FixtureRequest) -> dict[tuple[str, str], Summary]:
    """Summaries by kind and period; a failure shows them."""
    by_kind = {(one.kind, one.period): one for one in summaries(run_backtest(seed, ROUNDS))}
    add_test_note(request.node, "back-test", "\n".join(map(str, by_kind.values())))
    return by_kind


def test_it_beats_the_run_rate_and_its_interval_holds(found: dict[tuple[str, str], Summary]) -> None:
    """Over all and for each kind: the weighted and the median error are smaller; the truth is in the interval 80 % of the time."""
    whole = found[ALL, ALL]
    low, high = COVERAGE_PERCENT
    assert low <= whole.coverage_percent <= high
    for kind in (*KINDS, ALL):
        one = found[kind, ALL]
        assert one.weighted_error_percent <= ERROR_RATIO_MAX[kind] * one.naive_weighted_error_percent, one
        assert one.median_error_percent <= max(ERROR_RATIO_MAX[kind], 0.95) * one.naive_median_error_percent, one
        assert one.coverage_percent >= COVERAGE_PERCENT_MIN, one
    for period in ("month", "week", "day"):
        assert found[ALL, period].weighted_error_percent < 0.8 * found[ALL, period].naive_weighted_error_percent
