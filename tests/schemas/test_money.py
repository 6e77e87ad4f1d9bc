"""Money and quantities are exact, or refused."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.schemas import InvalidValue
from costledger.schemas.money import (
    AMOUNT_PICODOLLARS_MAX,
    QUANTITY_NANOUNITS_MAX,
    exact_decimal,
    from_nanounits,
    round_to_nanounits,
    round_to_picodollars,
    to_nanounits,
    to_picodollars,
    to_usd,
    usd_text,
)

CONVERSIONS = [to_picodollars, round_to_picodollars, to_nanounits, round_to_nanounits]
conversions = pytest.mark.parametrize("convert", CONVERSIONS)
amounts = st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX)


@conversions
@pytest.mark.parametrize("value", [0.1, 1.0, float("nan"), True, False, None, b"1", [1], 1j])
def test_what_is_not_exact_is_refused(convert: Callable[..., int], value: Any) -> None:
    """Floats, bools and whatever else is no Decimal, int or text name the field and say why."""
    with pytest.raises(InvalidValue, match=r"^price is .*floats are not exact"):
        convert(value, "price")


@conversions
@pytest.mark.parametrize(
    "value",
    ["NaN", "sNaN", "Infinity", "-inf", Decimal("NaN"), Decimal("-Infinity"), "", " ", "1,5", "0x10", "one", "1e"],
)
def test_what_is_no_finite_number_is_refused(convert: Callable[..., int], value: Any) -> None:
    """Not a number, infinities and other text are refused."""
    with pytest.raises(InvalidValue, match=r"^price is "):
        convert(value, "price")


@conversions
@pytest.mark.parametrize(
    "value",
    [
        "1E+999999",
        "-1E+999999",
        "1E+999999999999",
        Decimal("9E+40"),
        pytest.param(10**5000, id="5001 digits"),
        "9" * 10_000,
    ],
)
def test_huge_numbers_are_refused_at_once(convert: Callable[..., int], value: Any) -> None:
    """A number of a million digits is never written out, and can still be shown."""
    with pytest.raises(InvalidValue, match="in magnitude") as refused:
        convert(value, "price")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("value", ["0.0000000000001", "1E-13", "1E-9999999", "1." + "0" * 90 + "1", "1E-999999999999"])
def test_more_than_twelve_decimals_are_refused(value: str) -> None:
    """Nothing is rounded on the quiet, however far behind the point the digits are."""
    with pytest.raises(InvalidValue, match="at most 12 decimals"):
        to_picodollars(value)
    with pytest.raises(InvalidValue, match="at most 9 decimals"):
        to_nanounits(value)


def test_zeros_behind_are_no_decimals() -> None:
    """1.000...0 has no digit too many."""
    assert to_picodollars("1." + "0" * 100) == 10**12
    assert to_nanounits(Decimal("2.50000000000000")) == 2_500_000_000
    assert to_picodollars("-0") == 0


@pytest.mark.parametrize(
    ("convert", "limit", "places"),
    [(to_picodollars, AMOUNT_PICODOLLARS_MAX, 12), (to_nanounits, QUANTITY_NANOUNITS_MAX, 9)],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_bounds_are_inclusive(convert: Callable[..., int], limit: int, places: int, sign: int) -> None:
    """The largest magnitude passes and fits in 64 bits; one step more is refused with the limit in units."""
    assert convert(Decimal(sign * limit).scaleb(-places)) == sign * limit
    assert limit < 2**63
    with pytest.raises(InvalidValue, match=f"at most {limit // 10**places} in magnitude"):
        convert(Decimal(sign * (limit + 1)).scaleb(-places))


@pytest.mark.parametrize(
    ("usd", "expected"),
    [
        ("0.0000000000005", 0),
        ("0.0000000000015", 2),
        ("0.0000000000025", 2),
        ("-0.0000000000005", 0),
        ("-0.0000000000015", -2),
        ("0.0000000000005" + "0" * 100 + "1", 1),
        ("0.00000000000049" + "9" * 100, 0),
        ("1E-9999999", 0),
    ],
)
def test_ties_go_to_even_and_only_ties(usd: str, expected: int) -> None:
    """Half a picodollar goes to the even neighbour; a hair more does not."""
    assert round_to_picodollars(usd) == expected


@given(st.decimals(-9_000_000, 9_000_000, allow_nan=False, places=40))
def test_rounding_is_fractions_rounding(usd: Decimal) -> None:
    """Rounding is that of exact fractions (half to even), for any number of digits."""
    assert round_to_picodollars(usd) == round(Fraction(usd) * 10**12)
    assert round_to_nanounits(usd) == round(Fraction(usd) * 10**9)


@given(amounts)
def test_money_round_trip(picodollars: int) -> None:
    """Picodollars to USD and back change nothing, through Decimal and through text."""
    assert to_picodollars(to_usd(picodollars)) == picodollars
    assert to_picodollars(usd_text(picodollars)) == picodollars


@given(st.integers(-(10**300), 10**300))
def test_totals_of_any_size_are_exact(number: int) -> None:
    """Totals have no bound and lose no digit."""
    assert Fraction(to_usd(number)) == Fraction(number, 10**12)
    assert Fraction(from_nanounits(number)) == Fraction(number, 10**9)
    assert Fraction(usd_text(number)) == Fraction(number, 10**12)


@given(amounts, st.integers(1, 12))
def test_the_host_programs_decimal_context_changes_nothing(picodollars: int, digits: int) -> None:
    """A host that computes with few digits, and traps inexact results, gets the same money."""
    usd = Decimal(picodollars).scaleb(-12)
    with decimal.localcontext() as context:
        context.prec = digits
        context.traps[decimal.Inexact] = True
        context.traps[decimal.Rounded] = True
        assert to_picodollars(usd) == picodollars
        assert round_to_picodollars(usd) == picodollars
        assert Fraction(to_usd(picodollars)) == Fraction(picodollars, 10**12)


@pytest.mark.parametrize(
    ("picodollars", "text"),
    [
        (0, "0.00"),
        (1, "0.000000000001"),
        (-1_500_000_000_000, "-1.50"),
        (10**13, "10.00"),
        (10**40, "1" + "0" * 28 + ".00"),
    ],
)
def test_text_has_two_decimals_at_least(picodollars: int, text: str) -> None:
    """Plain decimals, never an exponent."""
    assert usd_text(picodollars) == text


def test_text_may_have_spaces_around() -> None:
    """What a person typed is taken with the spaces around it."""
    assert exact_decimal(" 1.50\n", "x") == Decimal("1.50")
