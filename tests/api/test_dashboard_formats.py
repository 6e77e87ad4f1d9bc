"""Figures as people read them, with the exact value kept."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.api.dashboard import formats

AMOUNTS = st.decimals(-(10**15), 10**15, allow_nan=False, allow_infinity=False, places=12)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("0.000000000000", "$0.00"),
        ("12.345", "$12.34"),
        ("12.355", "$12.36"),
        ("1234.5", "$1,234.50"),
        ("-3.999", "−$4.00"),
        ("0.0042", "$0.0042"),
        ("0.00996", "$0.01"),
        ("0.000123456", "$0.00012"),
        ("0.000000000001", "under $0.000001"),
        ("-0.000000000001", "above −$0.000001"),
        ("999999.994", "$999,999.99"),
        ("999999.995", "$1M"),
        ("1234567", "$1.23M"),
        ("-9876543210", "−$9.88B"),
    ],
)
def test_usd(amount: str, text: str) -> None:
    """Cents, or two digits that matter below a cent; large amounts shortened."""
    assert formats.usd(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "text"), [("0.072", "$0.072"), ("0.0104", "$0.0104"), ("0.5", "$0.50"), ("1.239", "$1.24")]
)
def test_usd_fine(amount: str, text: str) -> None:
    """Prices keep three digits below a dollar."""
    assert formats.usd_fine(Decimal(amount)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("20", "$20"),
        ("0.5", "$0.50"),
        ("0.005", "$0.005"),
        ("1500", "$1.5k"),
        ("-200", "−$200"),
        ("2E+7", "$20M"),
    ],
)
def test_usd_axis(amount: str, text: str) -> None:
    """Ticks are short."""
    assert formats.usd_axis(Decimal(amount)) == text


@given(AMOUNTS)
def test_exact_loses_nothing(amount: Decimal) -> None:
    """What the tooltip says is the amount, and never in scientific notation."""
    exact = formats.money(amount).exact
    assert Decimal(exact) == amount
    assert "E" not in exact
    assert len(exact.partition(".")[2]) >= 2


@given(AMOUNTS)
def test_shown_amounts_are_close_and_short(amount: Decimal) -> None:
    """The text is short, has the sign of what it shows, and no sign where it shows zero."""
    text = formats.usd(amount)
    assert len(text) <= 16
    assert (formats.MINUS in text) == (amount < 0 and amount != 0)


def test_percent() -> None:
    """One decimal below 100, a sign only where asked for."""
    assert formats.percent(Decimal("12.34")) == "12.3 %"
    assert formats.percent(Decimal("12.34"), signed=True) == "+12.3 %"
    assert formats.percent(Decimal("-0.01"), signed=True) == "0 %"
    assert formats.percent(Decimal("1234.5")) == "1,234 %"


def test_times_are_in_the_zone() -> None:
    """A moment is shown in the user's zone, and kept in UTC for machines."""
    instant = datetime(2026, 11, 23, 23, 30, tzinfo=UTC)
    assert formats.moment(instant, "Europe/Berlin") == "24 Nov 2026, 00:30"
    assert formats.utc_text(instant) == "2026-11-23T23:30:00Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (4, "4 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (200_000, "2 days")],
)
def test_age(seconds: float, text: str) -> None:
    """The unit that says most."""
    assert formats.age(seconds) == text
