"""The efficiency score, 0 to 100. Pure and exact.

100, less 20 where more than 100 USD were spent, else less 10 where more than 50 USD were; plus half of what the
cache hit rate, in percent, is above 50 (less where it is below). Held between 0 and 100. Where no cache was asked,
nothing is known of a hit rate, and that term is left out: caches that are not there neither raise nor lower a score.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Final

from costledger.producers.optimiser.ledger_usage import two_decimals
from costledger.schemas.money import PICODOLLARS_PER_USD

_HIGH: Final = 100 * PICODOLLARS_PER_USD
_MIDDLE: Final = 50 * PICODOLLARS_PER_USD


def efficiency_score(total: int, hit_rate: Fraction | None) -> Decimal:
    """The score with at most two decimals, ties to even. `total` in 1e-12 USD, `hit_rate` 0 to 1 or None."""
    score = Fraction(100)
    if total > _HIGH:
        score -= 20
    elif total > _MIDDLE:
        score -= 10
    if hit_rate is not None:
        score += (hit_rate * 100 - 50) / 2
    return two_decimals(max(Fraction(0), min(Fraction(100), score)))
