"""What to change to spend less, from the roll-ups: recommendations, strategies, score. Pure; money in 1e-12 USD.

The rules, with percentages that are chosen, not measured:

- openai more than 40 % of the total: an embedding cache, 30 % of openai's cost, high priority;
- aws-rekognition more than 30 %: fewer features, 20 % of its cost, medium;
- cache hit rate below 70 %: cache warming, 10 % of the total, medium.

Exactly 40 %, 30 % or 70 % is not yet a reason; the comparison is of whole numbers. Nothing is said where nothing is
known: no lookups, no statement about the hit rate; a total of 0 or less (credits), no shares and nothing to save.
The events that tell of savings (service `costledger`) are no part of any sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal

from costledger.producers.optimiser.efficiency import efficiency_score
from costledger.producers.optimiser.ledger_usage import Spending, percent_of, read_spending, share_of
from costledger.producers.optimiser.strategies import StrategySavings, is_embedding, strategy_savings
from costledger.producers.services import AWS_REKOGNITION, OPENAI
from costledger.schemas.money import usd_text
from costledger.schemas.usage import UsageRow

Priority = Literal["high", "medium", "low"]

EMBEDDING_CACHE: Final = "embedding_cache"
FEWER_FEATURES: Final = "fewer_features"
CACHE_WARMING: Final = "cache_warming"

_OPENAI_SHARE_PERCENT: Final = 40
_REKOGNITION_SHARE_PERCENT: Final = 30
_HIT_RATE_PERCENT: Final = 70
_PRIORITIES: Final = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What to do, why, and what it may save. `code` is stable; `observed_percent` is what gave the reason."""

    code: str
    title: str
    reason: str
    priority: Priority
    potential_saving: int
    observed_percent: Decimal

    def to_dict(self) -> dict[str, Any]:
        """JSON: the saving in USD as text."""
        return {
            "code": self.code,
            "title": self.title,
            "reason": self.reason,
            "priority": self.priority,
            "potential_saving": usd_text(self.potential_saving),
            "observed_percent": f"{self.observed_percent:f}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """All of it. Amounts in 1e-12 USD, percentages and the score with two decimals.

    `cache_hit_rate` is None where no cache was asked, `efficiency_score` None where it was not asked for. `unpriced`
    events are missing from every amount.
    """

    total: int
    recommendations: tuple[Recommendation, ...]
    strategies: tuple[StrategySavings, ...]
    efficiency_score: Decimal | None
    cache_hit_rate: Decimal | None
    cache_hits: int
    cache_misses: int
    measured_saving: int
    unpriced: int

    def to_dict(self) -> dict[str, Any]:
        """JSON in snake_case: money in USD and percentages as decimal text."""
        return {
            "total": usd_text(self.total),
            "currency": "USD",
            "efficiency_score": None if self.efficiency_score is None else f"{self.efficiency_score:f}",
            "cache_hit_rate": None if self.cache_hit_rate is None else f"{self.cache_hit_rate:f}",
            "cache_hits": self.cache_hits,
            "cache_misses": self.cache_misses,
            "measured_saving": usd_text(self.measured_saving),
            "unpriced": self.unpriced,
            "recommendations": [one.to_dict() for one in self.recommendations],
            "strategies": [
                {
                    "name": one.name,
                    "title": one.title,
                    "percent": one.percent,
                    "applicable_cost": None if one.applicable_cost is None else usd_text(one.applicable_cost),
                    "estimated_saving": None if one.estimated_saving is None else usd_text(one.estimated_saving),
                    "measured_saving": usd_text(one.measured_saving),
                }
                for one in self.strategies
            ],
        }


def advise(rows: Iterable[UsageRow], *, one_user: bool = True) -> Advice:
    """Advice on what was used in a period, by one user or (`one_user=False`) by many.

    The score's limits of 50 and 100 USD are meant for one user's month: for many there is none.
    """
    spending = read_spending(rows)
    rate = spending.hit_rate
    return Advice(
        total=spending.total,
        recommendations=tuple(recommend(spending)),
        strategies=tuple(strategy_savings(spending)),
        efficiency_score=efficiency_score(spending.total, rate) if one_user else None,
        cache_hit_rate=None if rate is None else percent_of(rate),
        cache_hits=spending.hits,
        cache_misses=spending.misses,
        measured_saving=sum(spending.saved.values()),
        unpriced=spending.unpriced,
    )


def recommend(spending: Spending) -> list[Recommendation]:
    """The recommendations that apply, by potential saving, largest first; then by priority."""
    total = spending.total
    if total <= 0:
        return []
    found = []
    openai = spending.of_service(OPENAI)
    if openai * 100 > total * _OPENAI_SHARE_PERCENT:
        one = _of_share(EMBEDDING_CACHE, "Cache embeddings", "high", OPENAI, openai, total, 30)
        # The rule asks for the whole service: whoever reads it should see how much of that are embeddings.
        embeddings = sum(
            amount
            for (service, name), amount in spending.by_operation.items()
            if service == OPENAI and is_embedding(name)
        )
        share = percent_of(Fraction(embeddings, openai))
        found.append(replace(one, reason=f"{one.reason}; embeddings are {share:f} % of it"))
    rekognition = spending.of_service(AWS_REKOGNITION)
    if rekognition * 100 > total * _REKOGNITION_SHARE_PERCENT:
        found.append(
            _of_share(FEWER_FEATURES, "Analyse fewer features", "medium", AWS_REKOGNITION, rekognition, total, 20)
        )
    rate = spending.hit_rate
    if rate is not None and rate * 100 < _HIT_RATE_PERCENT:
        percent = percent_of(rate)
        found.append(
            Recommendation(
                code=CACHE_WARMING,
                title="Warm the cache",
                reason=f"{percent:f} % of {spending.lookups} lookups were hits; {_HIT_RATE_PERCENT} % is the aim",
                priority="medium",
                potential_saving=share_of(total, 10),
                observed_percent=percent,
            )
        )
    return sorted(found, key=lambda one: (-one.potential_saving, _PRIORITIES[one.priority], one.code))


def _of_share(
    code: str, title: str, priority: Priority, service: str, amount: int, total: int, saved_percent: int
) -> Recommendation:
    percent = percent_of(Fraction(amount, total))
    return Recommendation(
        code=code,
        title=title,
        reason=f"{service} is {percent:f} % of all costs",
        priority=priority,
        potential_saving=share_of(amount, saved_percent),
        observed_percent=percent,
    )
