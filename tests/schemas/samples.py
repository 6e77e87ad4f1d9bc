"""Events, alerts and budgets to begin from, and strategies that make them within their bounds."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from costledger.schemas import AlertKind, AlertState, Budget, Category, CostAlert, Severity
from costledger.schemas.budgets import MONTHLY_BUDGET_MAX, VERSION_MAX
from costledger.schemas.events import OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.ids import derived_event_id
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX

#: 2026-11-23T09:00:00Z
NOW_US = 1_795_424_400_000_000
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


def event_record(**changes: Any) -> dict[str, Any]:
    """A good event record with some fields changed; its id follows `occurred_at` unless given."""
    occurred_at = changes.get("occurred_at", NOW_US)
    in_time = type(occurred_at) is int and 0 <= occurred_at < 2**48 * 1000
    return {
        "event_id": str(derived_event_id(occurred_at if in_time else NOW_US, "sample")),
        "user_id": "user-0001",
        "service": "openai",
        "operation": "input-tokens",
        "category": "USAGE",
        "quantity": 1_500_000_000_000,
        "unit": "token",
        "unit_price": "0.0000025",
        "price_version": "2026-11",
        "amount": 3_750_000_000,
        "currency": "USD",
        "occurred_at": NOW_US,
        "source": "tests",
        "reverses_event_id": None,
        "metadata": {"region": "eu-central-1"},
    } | changes


def alert(**changes: Any) -> CostAlert:
    """A good alert with some fields changed."""
    fields: dict[str, Any] = {
        "kind": AlertKind.BUDGET_THRESHOLD,
        "state": AlertState.ALARM,
        "severity": Severity.WARNING,
        "user_id": "user-0001",
        "scope": "total",
        "period_start": 1_793_491_200_000_000,
        "period_end": 1_796_083_200_000_000,
        "actual": 7_500_000_000_001,
        "limit": 7_500_000_000_000,
        "threshold_percent": Decimal(75),
        "budget_version": 3,
        "occurred_at": NOW_US,
        "raised_at": NOW_US + 1,
        "message": "user-0001 has spent 75 % of 10.00 USD.",
    }
    return CostAlert(**fields | changes)


def names(characters_max: int) -> st.SearchStrategy[str]:
    """Names within bounds, up to the longest."""
    printable = st.characters(exclude_categories=["C", "Z"])
    return st.text(printable, min_size=1, max_size=characters_max)


def metadata() -> st.SearchStrategy[dict[str, str]]:
    """Metadata within bounds: any text without NUL, control characters and line ends included."""
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=15)
    return st.dictionaries(texts, texts, max_size=32)


@st.composite
def event_records(draw: st.DrawFn) -> dict[str, Any]:
    """Event records within bounds, the bounds included."""
    occurred_at = draw(st.integers(OCCURRED_AT_MIN_US, OCCURRED_AT_END_US - 1))
    prices = st.decimals(Decimal(0), Decimal(10**15), allow_nan=False, places=12).map(lambda price: f"{price:f}")
    return {
        "event_id": str(derived_event_id(occurred_at, draw(st.binary(max_size=8)))),
        "user_id": draw(names(128)),
        "service": draw(names(128)),
        "operation": draw(names(128)),
        "category": draw(st.sampled_from(sorted(str(category) for category in Category))),
        "quantity": draw(st.integers(-QUANTITY_NANOUNITS_MAX, QUANTITY_NANOUNITS_MAX)),
        "unit": draw(names(64)),
        "unit_price": draw(st.none() | prices),
        "price_version": draw(st.none() | names(128)),
        "amount": draw(st.none() | st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX)),
        "currency": "USD",
        "occurred_at": occurred_at,
        "source": draw(names(128)),
        "reverses_event_id": draw(st.none() | st.uuids().map(str)),
        "metadata": draw(metadata()),
    }


def budgets() -> st.SearchStrategy[Budget]:
    """Budgets within bounds."""
    money = st.none() | st.integers(0, MONTHLY_BUDGET_MAX)
    percents = st.integers(0, 999_990_000).map(lambda steps: (Decimal(steps) / 10_000).normalize())
    thresholds = st.sets(percents, min_size=1, max_size=16).map(lambda chosen: tuple(sorted(chosen)))
    return st.builds(
        Budget,
        user_id=names(128),
        version=st.integers(0, VERSION_MAX),
        tier=names(128),
        monthly_budget=money,
        alert_thresholds=st.none() | thresholds,
        time_zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo"]),
        hourly_spike_limit=money,
        updated_at=st.integers(0, OCCURRED_AT_END_US),
    )


def alerts() -> st.SearchStrategy[CostAlert]:
    """Alerts, with totals beyond what Avro's `long` holds."""
    times = st.integers(0, OCCURRED_AT_END_US)
    return st.builds(
        CostAlert,
        kind=st.sampled_from(AlertKind),
        state=st.sampled_from(AlertState),
        severity=st.sampled_from(Severity),
        user_id=names(128),
        scope=names(128),
        period_start=times,
        period_end=times,
        actual=st.integers(-(2**70), 2**70),
        limit=st.none() | st.integers(-(2**70), 2**70),
        threshold_percent=st.none() | st.integers(0, 999_990_000).map(lambda steps: Decimal(steps) / 10_000),
        budget_version=st.none() | st.integers(0, LONG_MAX),
        occurred_at=times,
        raised_at=times,
        late=st.booleans(),
        message=st.text(st.characters(exclude_categories=["Cs"])),
    )


def uuid_text(number: int) -> str:
    """A UUID's canonical text from its 128 bits."""
    return str(UUID(int=number))
