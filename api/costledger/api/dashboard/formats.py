"""How figures are written for people: rounded to what matters, with the exact value kept beside them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from costledger.schemas.periods import zone

MINUS: Final = "\N{MINUS SIGN}"
_CENT: Final = Decimal("0.01")
#: What is smaller than this is said to be so: six decimals are more than anybody compares.
_LEAST_SHOWN: Final = Decimal("0.000001")
_SHORT: Final = ((Decimal(10) ** 12, "T"), (Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))


@dataclass(frozen=True, slots=True)
class Money:
    """An amount as it is shown (`text`), and exactly, in USD (`exact`)."""

    text: str
    exact: str


def money(amount: Decimal, *, fine: bool = False) -> Money:
    """An amount of USD, as text for people and exact; `fine`: prices, of which fractions of a cent matter."""
    return Money(usd_fine(amount) if fine else usd(amount), exact_usd(amount))


def exact_usd(amount: Decimal) -> str:
    """All digits that matter, at least two decimals: 12.30, 0.000000000001."""
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def usd(amount: Decimal) -> str:
    """USD with cents; below a cent with two digits that matter; from a million on shortened."""
    size = abs(amount)
    if size >= Decimal("999999.995"):
        text = _shortened(size, _CENT)
    elif size >= _CENT or not size:
        text = f"{size.quantize(_CENT, ROUND_HALF_EVEN):,f}"
    elif size < _LEAST_SHOWN:
        return f"{'above ' + MINUS if amount < 0 else 'under '}${_LEAST_SHOWN:f}"
    else:
        text = f"{size.quantize(Decimal(1).scaleb(size.adjusted() - 1), ROUND_HALF_EVEN).normalize():f}"
    return f"{_sign(amount, text)}${text}"


def usd_fine(amount: Decimal) -> str:
    """USD with three digits that matter below a dollar."""
    size = abs(amount)
    if size >= 1 or size < _CENT:
        return usd(amount)
    rounded = size.quantize(Decimal(1).scaleb(size.adjusted() - 2), ROUND_HALF_EVEN).normalize()
    text = f"{rounded:f}"
    return f"{_sign(amount, text)}${text if rounded != rounded.quantize(_CENT) else f'{rounded:.2f}'}"


def usd_axis(amount: Decimal) -> str:
    """The label of an axis' tick: no more decimals than the tick has."""
    size = abs(amount)
    if not size:
        return "$0"
    sign = MINUS if amount < 0 else ""
    if size >= 1000:
        return f"{sign}${_shortened(size, None)}"
    text = f"{size.normalize():f}"
    if "." in text and len(text.partition(".")[2]) == 1:
        text += "0"
    return f"{sign}${text}"


def percent(value: Decimal, *, signed: bool = False) -> str:
    """A percentage with one decimal below 100, none above."""
    size = abs(value)
    text = f"{size.quantize(Decimal('0.1') if size < 100 else Decimal(1), ROUND_HALF_EVEN):,f}"
    text = text.removesuffix(".0")
    sign = _sign(value, text)
    if signed and not sign and text != "0":
        sign = "+"
    return f"{sign}{text} %"


def plain_percent(value: Decimal) -> str:
    """A percentage as it was set: 75, 99.5."""
    return f"{value.normalize():f}" if value else "0"


def quantity(value: Decimal) -> str:
    """A quantity in its unit: grouped, at most three decimals."""
    size = abs(value)
    if size >= 10**9:
        text = _shortened(size, _CENT)
    else:
        text = f"{size.quantize(Decimal('0.001'), ROUND_HALF_EVEN):,f}".rstrip("0").rstrip(".")
        if text == "0" and size:
            return "under 0.001"
    return f"{_sign(value, text)}{text}"


def count(value: int) -> str:
    """A number of things, grouped."""
    return f"{value:,}"


def day(instant: datetime, time_zone: str) -> str:
    """24 Nov"""
    local = instant.astimezone(zone(time_zone))
    return f"{local.day} {local:%b}"


def moment(instant: datetime, time_zone: str) -> str:
    """24 Nov 2026, 14:05"""
    local = instant.astimezone(zone(time_zone))
    return f"{local.day} {local:%b %Y, %H:%M}"


def utc_text(instant: datetime) -> str:
    """RFC 3339 in UTC, for `<time datetime>`."""
    return f"{instant.astimezone(zone('UTC')):%Y-%m-%dT%H:%M:%SZ}"


def age(seconds: float) -> str:
    """How long ago: 4 s, 12 min, 3 h, 2 days."""
    whole = max(0, int(seconds))
    for size, name in ((172_800, None), (7200, "h"), (120, "min")):
        if whole >= size:
            return f"{whole // 86_400} days" if name is None else f"{whole // (size // 2)} {name}"
    return f"{whole} s"


def _shortened(size: Decimal, step: Decimal | None) -> str:
    for unit, letter in _SHORT:
        if size >= unit or (step is not None and (size / unit).quantize(step) >= 1):
            value = size / unit if step is None else (size / unit).quantize(step, ROUND_HALF_EVEN)
            return f"{value.normalize():,f}{letter}"
    return f"{size.normalize():f}"


def _sign(amount: Decimal, text: str) -> str:
    return MINUS if amount < 0 and any(digit in "123456789" for digit in text) else ""
