"""Exact money and quantities: integers of 1e-12 USD and of 1e-9 units.

A *picodollar* is 1e-12 USD, the smallest amount there is. Amounts of single events fit in 64 bits
(`AMOUNT_PICODOLLARS_MAX`); totals are Python integers or SQL `numeric` and have no such limit.
Floats are refused everywhere: 0.1 is not a tenth of a dollar.
"""

from __future__ import annotations

from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

from costledger.schemas.errors import InvalidValue

USD_DECIMALS = 12
QUANTITY_DECIMALS = 9
PICODOLLARS_PER_USD = 10**USD_DECIMALS
NANOUNITS_PER_UNIT = 10**QUANTITY_DECIMALS

#: 9 million USD for one event: what fits in an Avro `long` with room to spare.
AMOUNT_PICODOLLARS_MAX = 9_000_000 * PICODOLLARS_PER_USD
#: 9e9 units for one event, for the same reason.
QUANTITY_NANOUNITS_MAX = 9_000_000_000 * NANOUNITS_PER_UNIT

#: Moves the point without losing a digit, whatever precision the host program has set for its own arithmetic.
_EXACT = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[InvalidOperation])

Exact = Decimal | int | str


def exact_decimal(value: Exact, field: str) -> Decimal:
    """A finite `Decimal` from a Decimal, an int or decimal text. Floats and bools raise `InvalidValue`."""
    if isinstance(value, bool) or not isinstance(value, (Decimal, int, str)):
        raise InvalidValue(field, value, "a Decimal, an int or decimal text (floats are not exact)")
    try:
        number = Decimal(value.strip()) if isinstance(value, str) else Decimal(value)
    except InvalidOperation:
        raise InvalidValue(field, value, "a decimal number") from None
    if not number.is_finite():
        raise InvalidValue(field, value, "a finite number")
    return number


def _scaled(value: Exact, places: int, field: str, limit: int, rounded: bool) -> int:
    number = exact_decimal(value, field)
    # Decides before the digits are written out, so that 1E+999999 costs nothing.
    if number and number.adjusted() > 30:
        raise InvalidValue(field, value, f"at most {limit // 10**places} in magnitude")
    scaled = number.scaleb(places, _EXACT)
    whole = scaled.to_integral_value(ROUND_HALF_EVEN, _EXACT)
    if not rounded and whole != scaled:
        raise InvalidValue(field, value, f"a number with at most {places} decimals")
    if not -limit <= whole <= limit:
        raise InvalidValue(field, value, f"at most {limit // 10**places} in magnitude")
    return int(whole)


def to_picodollars(usd: Exact, field: str = "amount") -> int:
    """USD to picodollars, exactly. More than 12 decimals, floats or too large amounts raise `InvalidValue`."""
    return _scaled(usd, USD_DECIMALS, field, AMOUNT_PICODOLLARS_MAX, rounded=False)


def round_to_picodollars(usd: Exact, field: str = "amount") -> int:
    """USD to the nearest picodollar, ties to even. For products of a price and a quantity, rounded once."""
    return _scaled(usd, USD_DECIMALS, field, AMOUNT_PICODOLLARS_MAX, rounded=True)


def to_nanounits(quantity: Exact, field: str = "quantity") -> int:
    """A quantity in units to integers of 1e-9 units, exactly; raises `InvalidValue` otherwise."""
    return _scaled(quantity, QUANTITY_DECIMALS, field, QUANTITY_NANOUNITS_MAX, rounded=False)


def round_to_nanounits(quantity: Exact, field: str = "quantity") -> int:
    """A quantity in units to the nearest 1e-9 unit, ties to even."""
    return _scaled(quantity, QUANTITY_DECIMALS, field, QUANTITY_NANOUNITS_MAX, rounded=True)


def to_usd(picodollars: int) -> Decimal:
    """Picodollars to USD, exactly, for any magnitude."""
    return Decimal(picodollars).scaleb(-USD_DECIMALS, _EXACT)


def from_nanounits(nanounits: int) -> Decimal:
    """Integers of 1e-9 units to units, exactly, for any magnitude."""
    return Decimal(nanounits).scaleb(-QUANTITY_DECIMALS, _EXACT)


def usd_text(picodollars: int) -> str:
    """Picodollars as plain decimal text in USD: all digits that matter, at least two decimals."""
    text = f"{to_usd(picodollars):f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
