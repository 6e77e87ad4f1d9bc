"""Recommendations, strategies and the score: every number, at and around its boundary."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.optimiser.efficiency import efficiency_score
from costledger.producers.optimiser.ledger_usage import percent_of, read_spending, share_of
from costledger.producers.optimiser.recommendations import (
    CACHE_WARMING,
    EMBEDDING_CACHE,
    FEWER_FEATURES,
    Advice,
    advise,
)
from costledger.producers.savings import BATCH_PROCESSING, EMBEDDING_DEDUPLICATION, TIERED_PROCESSING
from costledger.schemas.usage import UsageRow

USD = 10**12


def row(service: str, operation: str, amount: int, *, quantity: int = 10**9, unpriced: int = 0) -> UsageRow:
    """A row of one event."""
    return UsageRow(service=service, operation=operation, events=1, quantity=quantity, amount=amount, unpriced=unpriced)


def lookups(hits: int, misses: int, cache: str = "c") -> list[UsageRow]:
    """What a cache has told."""
    return [
        row("costledger", f"cache-hit:{cache}", 0, quantity=hits * 10**9),
        row("costledger", f"cache-miss:{cache}", 0, quantity=misses * 10**9),
    ]


def saved(strategy: str, picodollars: int) -> UsageRow:
    """What a strategy has told."""
    return row("costledger", f"saved:{strategy}", 0, quantity=picodollars)


def codes(advice: Advice) -> list[str]:
    """Which recommendations there are, in their order."""
    return [one.code for one in advice.recommendations]


@pytest.mark.parametrize(
    ("service", "percent", "code", "saving_percent", "priority"),
    [("openai", 40, EMBEDDING_CACHE, 30, "high"), ("aws-rekognition", 30, FEWER_FEATURES, 20, "medium")],
)
def test_a_service_is_recommended_on_above_its_share(
    service: str, percent: int, code: str, saving_percent: int, priority: str
) -> None:
    """Not at exactly 40 % (30 %), but one picodollar above; saving 30 % (20 %) of that service's cost."""
    other = (100 - percent) * USD
    at_limit = advise([row(service, "a", percent * USD), row("aws-s3", "put", other)])
    assert codes(at_limit) == []
    below = advise([row(service, "a", percent * USD - 1), row("aws-s3", "put", other)])
    assert codes(below) == []
    above = advise([row(service, "a", USD), row(service, "b", (percent - 1) * USD + 1), row("aws-s3", "put", other)])
    (one,) = above.recommendations
    assert (one.code, one.priority, one.observed_percent) == (code, priority, Decimal(percent))
    assert one.potential_saving == round(Fraction((percent * USD + 1) * saving_percent, 100))
    assert f"{percent}.00 %" in one.reason
    assert service in one.reason


def test_the_reason_says_how_much_of_it_are_embeddings() -> None:
    """The rule looks at the service as a whole; advice on embeddings to whoever has none should show as such."""
    chats = advise([row("openai", "gpt-4-input", 3 * USD), row("aws-s3", "put", USD)])
    assert chats.recommendations[0].reason == "openai is 75.00 % of all costs; embeddings are 0.00 % of it"
    some = advise([row("openai", "gpt-4-input", USD), row("openai", "embedding-text-embedding-3-small", USD)])
    assert some.recommendations[0].reason == "openai is 100.00 % of all costs; embeddings are 50.00 % of it"


@pytest.mark.parametrize(
    ("hits", "misses", "recommended"),
    [(69, 31, True), (70, 30, False), (71, 29, False), (6_999_999, 3_000_001, True), (0, 1, True), (1, 0, False)],
)
def test_warming_is_recommended_below_a_hit_rate_of_70_percent(hits: int, misses: int, recommended: bool) -> None:
    """Not at exactly 70 %, but one lookup below; saving 10 % of the total, medium."""
    advice = advise([row("aws-s3", "put", 7 * USD), *lookups(hits, misses)])
    assert codes(advice) == ([CACHE_WARMING] if recommended else [])
    for one in advice.recommendations:
        assert (one.potential_saving, one.priority) == (7 * USD // 10, "medium")
    assert (advice.cache_hits, advice.cache_misses) == (hits, misses)


def test_the_hit_rate_is_of_all_caches_together() -> None:
    """90 of 100 and 1 of 30: 70 % is missed by a hair, as a sum and not as a mean of rates."""
    advice = advise([row("aws-s3", "put", USD), *lookups(90, 10, "a"), *lookups(1, 30, "b")])
    assert advice.cache_hit_rate == Decimal("69.47")
    assert codes(advice) == [CACHE_WARMING]


def test_nothing_is_said_where_nothing_is_known() -> None:
    """No rows; no lookups; nothing paid; credits above all costs."""
    empty = advise([])
    assert (empty.total, empty.recommendations, empty.cache_hit_rate, empty.efficiency_score) == (0, (), None, 100)
    assert [one.estimated_saving for one in empty.strategies] == [0, 0, 0]
    assert codes(advise([row("aws-s3", "put", USD)])) == []
    assert codes(advise(lookups(1, 99))) == []
    assert codes(advise([row("openai", "a", USD), row("aws-s3", "put", -2 * USD), *lookups(0, 9)])) == []
    assert codes(advise([row("openai", "a", 0, unpriced=1)])) == []
    assert advise([row("openai", "a", 0, unpriced=3)]).unpriced == 3


def test_all_recommendations_come_by_what_they_save() -> None:
    """The largest first; equal ones by priority, then by code."""
    rows = [row("openai", "a", 45 * USD), row("aws-rekognition", "b", 55 * USD), *lookups(1, 1)]
    advice = advise(rows)
    assert [(one.code, one.potential_saving) for one in advice.recommendations] == [
        (EMBEDDING_CACHE, 27 * USD // 2),
        (FEWER_FEATURES, 11 * USD),
        (CACHE_WARMING, 10 * USD),
    ]
    more = advise([row("openai", "a", 41 * USD), row("aws-rekognition", "b", 65 * USD), *lookups(1, 1)])
    assert codes(more) == [FEWER_FEATURES, CACHE_WARMING]
    # Exactly 40 % of openai: 20 % of 75 USD is left.
    assert codes(advise([row("openai", "a", 50 * USD), row("aws-rekognition", "b", 75 * USD)])) == [FEWER_FEATURES]
    tied = advise([row("aws-rekognition", "b", 50 * USD), row("aws-s3", "put", 50 * USD), *lookups(1, 1)])
    assert [one.potential_saving for one in tied.recommendations] == [10 * USD, 10 * USD]
    assert codes(tied) == [CACHE_WARMING, FEWER_FEATURES]


def test_savings_and_lookups_are_no_part_of_the_costs() -> None:
    """Even if they had an amount: shares are of what was paid to others."""
    rows = [row("openai", "a", 41 * USD), row("aws-s3", "put", 59 * USD)]
    told = [*lookups(9, 1), saved("x", 5 * USD), row("costledger", "other", 500 * USD)]
    advice = advise(rows + told)
    assert codes(advice) == [EMBEDDING_CACHE]
    assert (advice.total, advice.measured_saving) == (100 * USD, 5 * USD)


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, 100),
        (50 * USD, 100),
        (50 * USD + 1, 90),
        (100 * USD, 90),
        (100 * USD + 1, 80),
        (10**6 * USD, 80),
        (-USD, 100),
    ],
)
def test_the_score_goes_down_with_the_total(total: int, expected: int) -> None:
    """-10 above 50 USD, -20 above 100 USD, never both; exactly 50 or 100 is not above."""
    assert efficiency_score(total, None) == expected
    assert efficiency_score(total, Fraction(1, 2)) == expected


@pytest.mark.parametrize(
    ("hit_rate", "expected"),
    [
        (Fraction(0), "55.00"),
        (Fraction(1, 2), "80.00"),
        (Fraction(7, 10), "90.00"),
        (Fraction(9, 10), "100.00"),
        (Fraction(899, 1000), "99.95"),
        (Fraction(1), "100.00"),
        (Fraction(1, 3), "71.67"),
    ],
)
def test_the_score_follows_the_hit_rate(hit_rate: Fraction, expected: str) -> None:
    """Half of what it is above 50 %, or below, on 80 for more than 100 USD; held at 100."""
    assert f"{efficiency_score(101 * USD, hit_rate):f}" == expected


@given(st.integers(-(10**20), 10**20), st.fractions(0, 1) | st.none())
def test_the_score_is_within_its_bounds_and_exact(total: int, hit_rate: Fraction | None) -> None:
    """0 to 100, whatever the decimal context of the host."""
    with localcontext() as context:
        context.prec = 2
        score = efficiency_score(total, hit_rate)
    base = 80 if total > 100 * USD else 90 if total > 50 * USD else 100
    exact = base + (Fraction(0) if hit_rate is None else (hit_rate - Fraction(1, 2)) * 50)
    assert 0 <= score <= 100
    assert abs(Fraction(score) - max(Fraction(0), min(Fraction(100), exact))) <= Fraction(1, 200)


def test_no_lookups_leave_the_score_alone() -> None:
    """Unlike lookups that found nothing. For many users there is no score."""
    assert advise([row("aws-s3", "put", 60 * USD)]).efficiency_score == 90
    assert advise([row("aws-s3", "put", 60 * USD), *lookups(0, 10)]).efficiency_score == 65
    assert advise([row("aws-s3", "put", 60 * USD)], one_user=False).efficiency_score is None


@pytest.mark.parametrize(
    ("name", "percent", "applies", "not_to"),
    [
        (
            EMBEDDING_DEDUPLICATION,
            30,
            [("openai", "embedding-text-embedding-3-small"), ("azure", "embedding-x")],
            [("openai", "input-tokens"), ("aws-rekognition", "detectLabels")],
        ),
        (
            BATCH_PROCESSING,
            15,
            [("openai", "input-tokens"), ("aws-rekognition", "detectLabels"), ("aws-comprehend", "detectEntities")],
            [("aws-transcribe", "transcription"), ("aws-s3", "put"), ("stripe", "charge"), ("internal", "processing")],
        ),
        (
            TIERED_PROCESSING,
            25,
            [
                ("aws-rekognition", "videoAnalysis"),
                ("aws-comprehend", "detectSentiment"),
                ("aws-transcribe", "transcription"),
                ("openai", "embedding-text-embedding-3-large"),
            ],
            [("openai", "output-tokens"), ("aws-s3", "storage"), ("stripe", "charge"), ("internal", "processing")],
        ),
    ],
)
def test_a_strategy_saves_its_share_of_what_it_applies_to(
    name: str, percent: int, applies: list[tuple[str, str]], not_to: list[tuple[str, str]]
) -> None:
    """Estimated: 30, 15 and 25 percent; measured: the sum of what was told, to the picodollar."""
    rows = [row(*one, 10 * USD + 3) for one in applies] + [row(*one, 7 * USD) for one in not_to]
    rows += [saved(name, 5), saved(name, 2**60), saved(name, -7), saved("another", 99)]
    found = {one.name: one for one in advise(rows).strategies}
    one = found[name]
    cost = len(applies) * (10 * USD + 3)
    assert (one.percent, one.applicable_cost) == (percent, cost)
    assert one.estimated_saving == round(Fraction(cost * percent, 100))
    assert one.measured_saving == 2**60 - 2
    assert (found["another"].estimated_saving, found["another"].measured_saving) == (None, 99)


def test_strategies_come_by_what_they_would_save() -> None:
    """Then by what they have saved; a negative saving is told as such; credits make no negative estimate."""
    rows = [row("aws-transcribe", "transcription", 100 * USD), row("openai", "input-tokens", 10 * USD)]
    rows += [saved(BATCH_PROCESSING, -5), saved("b", 1), saved("a", 3), row("openai", "embedding-a", -USD)]
    strategies = advise(rows).strategies
    assert [one.name for one in strategies] == [
        TIERED_PROCESSING,
        BATCH_PROCESSING,
        "a",
        "b",
        EMBEDDING_DEDUPLICATION,
    ]
    assert strategies[1].measured_saving == -5
    assert (strategies[4].applicable_cost, strategies[4].estimated_saving) == (-USD, 0)


@pytest.mark.parametrize(("amount", "expected"), [(5, 2), (15, 4), (25, 8), (1, 0), (-5, -2), (35, 10)])
def test_shares_are_rounded_once_half_to_even(amount: int, expected: int) -> None:
    """30 % of 5 picodollars is 1.5, and becomes 2; of 15 it is 4.5, and becomes 4."""
    assert share_of(amount, 30) == expected


@given(st.integers(0, 10**30), st.integers(1, 10**30))
def test_percentages_are_exact_in_any_decimal_context(part: int, whole: int) -> None:
    """Two decimals of the true share."""
    with localcontext() as context:
        context.prec = 1
        percent = percent_of(Fraction(part, whole))
    assert abs(Fraction(percent) - Fraction(100 * part, whole)) <= Fraction(1, 200)


def test_rows_of_several_days_add_up() -> None:
    """The rows may be of any granularity and in any order."""
    rows = [row("openai", "a", 1), *lookups(1, 2), row("openai", "a", 2), *lookups(3, 4, "d"), saved("s", 5)]
    spending = read_spending(reversed(rows))
    assert spending.by_operation == {("openai", "a"): 3}
    assert (spending.hits, spending.misses, spending.saved, spending.hit_rate) == (4, 6, {"s": 5}, Fraction(2, 5))


def test_advice_is_json_with_money_as_text() -> None:
    """No float anywhere; 1e-12 USD is not lost."""
    rows = [row("openai", "embedding-a", 60 * USD + 1, unpriced=2), row("aws-s3", "put", USD), *lookups(1, 2)]
    document = json.loads(json.dumps(advise([*rows, saved(EMBEDDING_DEDUPLICATION, 1)]).to_dict()), parse_float=_fail)
    assert document["total"] == "61.000000000001"
    assert (document["cache_hit_rate"], document["efficiency_score"], document["unpriced"]) == ("33.33", "81.67", 2)
    first = document["recommendations"][0]
    assert (first["code"], first["potential_saving"], first["priority"]) == (EMBEDDING_CACHE, "18.00", "high")
    assert first["observed_percent"] == "98.36"
    assert document["strategies"][0] == {
        "name": EMBEDDING_DEDUPLICATION,
        "title": "Embedding deduplication",
        "percent": 30,
        "applicable_cost": "60.000000000001",
        "estimated_saving": "18.00",
        "measured_saving": "0.000000000001",
    }


def _fail(text: str) -> float:
    raise AssertionError(f"a float: {text}")
