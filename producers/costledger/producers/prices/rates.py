"""Exact arithmetic of prices: a rate is a fraction, an amount is rounded once, half to even.

Everything is whole numbers, so no decimal context of the host program can change a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from costledger.schemas.money import NANOUNITS_PER_UNIT, PICODOLLARS_PER_USD

_PICODOLLARS_PER_NANOUNIT: Final = Fraction(PICODOLLARS_PER_USD, NANOUNITS_PER_UNIT)
#: What an event's unit price may have after the point.
_DECIMALS_MAX: Final = 30


class Priced(NamedTuple):
    """What the price book says of one event. (A tuple, since one is made for every event.)

    `amount_picodollars` is in 1e-12 USD; None means *unpriced*: no entry covers the event, and it must be
    recorded so, never as 0. `unit_price` is USD per unit as decimal text, None where there is no single one.
    `unit` is what the quantity counts, None where neither the caller nor the book knows.
    `quantity_nanounits` is the quantity to record, in that unit: where a begun unit is charged as a whole one,
    it is whole. So `unit_price` times quantity is the amount wherever there is a unit price.
    """

    amount_picodollars: int | None
    unit_price: str | None
    price_version: str | None
    unit: str | None
    quantity_nanounits: int


@dataclass(frozen=True, slots=True)
class Rate:
    """A price per unit as `numerator / denominator` picodollars per 1e-9 units; `text` is USD per unit."""

    numerator: int
    denominator: int
    text: str

    def amount(self, quantity_nanounits: int) -> int:
        """The amount in picodollars for a quantity in 1e-9 units, rounded once, half to even."""
        return divided_half_even(quantity_nanounits * self.numerator, self.denominator)

    def exact_amount(self, quantity_nanounits: int) -> Fraction:
        """The amount in picodollars before rounding."""
        return Fraction(quantity_nanounits * self.numerator, self.denominator)


def rate_of(price_usd: Decimal, per: int) -> Rate | None:
    """The rate of `price_usd` for `per` units; None where USD per unit has no end as a decimal (1 per 3)."""
    usd_per_unit = Fraction(price_usd) / per
    text = decimal_text(usd_per_unit)
    if text is None:
        return None
    scaled = usd_per_unit * _PICODOLLARS_PER_NANOUNIT
    return Rate(scaled.numerator, scaled.denominator, text)


def divided_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` as the nearest whole number, ties to even; `denominator` is positive."""
    whole, rest = divmod(numerator, denominator)
    doubled = rest * 2
    if doubled > denominator or (doubled == denominator and whole % 2):
        return whole + 1
    return whole


def rounded_up(quantity_nanounits: int, divisor: int) -> int:
    """A quantity divided by `divisor` and rounded away from zero to whole units, in 1e-9 units."""
    step = NANOUNITS_PER_UNIT * divisor
    whole: int = -(-abs(quantity_nanounits) // step) * NANOUNITS_PER_UNIT
    return whole if quantity_nanounits >= 0 else -whole


def decimal_text(number: Fraction) -> str | None:
    """A fraction as plain decimal text without superfluous zeros; None where it has no end."""
    for places in range(_DECIMALS_MAX + 1):
        scaled = number * 10**places
        if scaled.denominator == 1:
            digits = f"{abs(scaled.numerator):0{places + 1}d}"
            sign = "-" if number < 0 else ""
            return f"{sign}{digits[: len(digits) - places]}.{digits[len(digits) - places :]}".rstrip(".")
    return None
