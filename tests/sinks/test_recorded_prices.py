"""The price book in the ledger: each version's prices once, never another price under the same name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from tests.sinks.conftest import Ledger, make_event

from costledger.schemas.errors import PriceError
from costledger.sinks.database import connect
from costledger.sinks.prices import RecordedPrice, record_prices

PRICE = RecordedPrice(
    price_version="own-1@2026-01-01",
    service="openai",
    operation="input-tokens",
    model="gpt-4",
    unit="token",
    unit_price="0.000000000000000000000000000001",
    rounded_up=False,
    additions={"charge_usd": "0.029"},
    valid_from=date(2026, 1, 1),
    valid_to=date(2027, 1, 1),
    source="a contract",
)


def record(ledger: Ledger, *prices: RecordedPrice) -> int:
    """Record prices as the writer role."""
    with connect(ledger.url, "tests", 30.0) as connection:
        return record_prices(connection, prices)


def test_a_price_is_recorded_once_and_exactly(ledger: Ledger) -> None:
    """The writer may do it; recording it again, with a later end, adds and changes nothing."""
    assert record(ledger, PRICE) == 1
    assert record(ledger, replace(PRICE, valid_to=None, source="another"), PRICE) == 0
    rows = ledger.all("SELECT model, unit_price, additions, valid_from, valid_to, source FROM analyst.prices")
    assert rows == [
        (
            "gpt-4",
            Decimal("1E-30"),
            {"charge_usd": "0.029"},
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
            "a contract",
        )
    ]


@pytest.mark.parametrize(
    "other",
    [{"model": "gpt-4o"}, {"model": ""}, {"unit": "word"}, {"operation": "*"}, {"price_version": "own-2@2026-01-01"}],
    ids=str,
)
def test_models_units_and_versions_have_rows_of_their_own(ledger: Ledger, other: dict[str, str]) -> None:
    """One operation has many prices; none hides another."""
    assert record(ledger, PRICE, replace(PRICE, **other)) == 2  # type: ignore[arg-type]  # texts, all of them


@pytest.mark.parametrize(
    "change", [{"unit_price": "2"}, {"additions": {}}, {"rounded_up": True}], ids=lambda change: next(iter(change))
)
def test_another_price_under_the_same_version_is_refused(ledger: Ledger, change: dict[str, object]) -> None:
    """The error names it and what the ledger has, and nothing of that book is recorded."""
    record(ledger, PRICE)
    new = replace(PRICE, service="new")
    with pytest.raises(
        PriceError, match=r"own-1@2026-01-01 has another price for openai/input-tokens of gpt-4 per tok"
    ):
        record(ledger, new, replace(PRICE, **change))  # type: ignore[arg-type]  # fields of the right types
    assert ledger.one("SELECT count(*) FROM ledger.prices") == 1


def test_many_prices_are_recorded_together(ledger: Ledger) -> None:
    """More than fit in one statement; a contradiction in the last batch takes all of them back."""
    prices = [replace(PRICE, operation=f"o{number:05}") for number in range(2500)]
    wrong = replace(prices[0], unit_price="3")
    with pytest.raises(PriceError):
        record(ledger, *prices, wrong)
    assert ledger.one("SELECT count(*) FROM ledger.prices") == 0
    assert record(ledger, *prices) == 2500


def test_an_event_finds_its_price(ledger: Ledger) -> None:
    """price_version, service and operation lead from an entry to the price and its source."""
    record(ledger, PRICE)
    event = make_event("u", occurred_at=datetime(2026, 1, 5, tzinfo=UTC))
    ledger.connection.execute(
        "INSERT INTO ledger.entries (event_id, occurred_at, received_at, kafka_offset, kafka_partition, quantity, "
        "amount, user_id, service, operation, category, unit, currency, source, kafka_topic, metadata, price_version) "
        "VALUES (%s, %s, %s, 0, 0, 1, 0.001, 'u', 'openai', 'input-tokens', 'USAGE', 'token', 'USD', 'tests', 't', "
        """'{"model": "gpt-4"}', 'own-1@2026-01-01')""",
        (event.event_id, event.occurred_at, event.occurred_at),
    )
    joined = ledger.all(
        "SELECT p.unit_price, p.source FROM analyst.costs AS c JOIN analyst.prices AS p "
        "USING (price_version, service, operation) WHERE coalesce(p.model = c.metadata ->> 'model', true)"
    )
    assert joined == [(Decimal("1E-30"), "a contract")]
