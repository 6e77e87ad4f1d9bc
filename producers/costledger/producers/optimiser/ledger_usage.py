"""Reading usage rows for advice: what was paid, what the lookups and savings say. Pure and exact."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from costledger.producers.prices.rates import divided_half_even
from costledger.producers.savings import (
    CACHE_HIT_PREFIX,
    CACHE_MISS_PREFIX,
    SAVED_PREFIX,
    SAVINGS_SERVICE,
)
from costledger.schemas.money import NANOUNITS_PER_UNIT
from costledger.schemas.usage import UsageRow


@dataclass(frozen=True, slots=True)
class Spending:
    """What was paid in a period, in 1e-12 USD, without the events that only tell of savings.

    `by_operation` has (service, operation) -> amount, `saved` strategy -> amount (negative where it cost more),
    `hits` and `misses` are lookups of all caches together.
    """

    by_operation: dict[tuple[str, str], int] = field(default_factory=dict)
    saved: dict[str, int] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    unpriced: int = 0

    @property
    def total(self) -> int:
        """All that was paid, credits included."""
        return sum(self.by_operation.values())

    @property
    def lookups(self) -> int:
        """How often a cache was asked."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> Fraction | None:
        """The share of the lookups that found something, 0 to 1; None where there were none."""
        return Fraction(self.hits, self.lookups) if self.lookups > 0 else None

    def of_service(self, service: str) -> int:
        """What a service has cost."""
        return sum(amount for (name, _), amount in self.by_operation.items() if name == service)


def read_spending(rows: Iterable[UsageRow]) -> Spending:
    """Rows, in any order and also of several days, as one spending."""
    by_operation: dict[tuple[str, str], int] = defaultdict(int)
    saved: dict[str, int] = defaultdict(int)
    hits = misses = unpriced = 0
    for row in rows:
        if row.service != SAVINGS_SERVICE:
            by_operation[row.service, row.operation] += row.amount
            unpriced += row.unpriced
        elif row.operation.startswith(CACHE_HIT_PREFIX):
            hits += row.quantity // NANOUNITS_PER_UNIT
        elif row.operation.startswith(CACHE_MISS_PREFIX):
            misses += row.quantity // NANOUNITS_PER_UNIT
        elif row.operation.startswith(SAVED_PREFIX):
            # A quantity of 1e-9 thousandths of a dollar is an amount in 1e-12 USD.
            saved[row.operation.removeprefix(SAVED_PREFIX)] += row.quantity
    return Spending(dict(by_operation), dict(saved), hits, misses, unpriced)


def share_of(amount: int, percent: int) -> int:
    """So many percent of an amount, to the nearest 1e-12 USD, ties to even."""
    return divided_half_even(amount * percent, 100)


def percent_of(share: Fraction) -> Decimal:
    """A share as percent with two decimals, ties to even: for people, never for a decision."""
    return two_decimals(share * 100)


def two_decimals(number: Fraction) -> Decimal:
    """A number with two decimals, ties to even, in whatever decimal context the host works."""
    # Made from text: arithmetic, scaleb too, would round to the host's precision.
    return Decimal(f"{divided_half_even(number.numerator * 100, number.denominator)}E-2")
