"""The price book in the ledger: what each price version that events carry was, for analysts to join.

Rows are only ever added. A version that says another price than the one recorded under its name is refused: events
that carry it would be explained by a price that they never had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final

from psycopg.types.json import Jsonb

from costledger.schemas.errors import PriceError
from costledger.sinks.database import Connection
from costledger.sinks.queries import query

_BATCH_PRICES_MAX: Final = 1000
#: Contradictions that one error names.
_NAMED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class RecordedPrice:
    """One price: USD per unit as decimal text, in force from one UTC day up to but not on another.

    `model` is empty where the price is for all. `additions` is what is charged besides: a name in the events'
    metadata -> USD for each, as decimal text.
    """

    price_version: str
    service: str
    operation: str
    model: str
    unit: str
    unit_price: str
    rounded_up: bool
    additions: Mapping[str, str]
    valid_from: date
    valid_to: date | None
    source: str


def record_prices(connection: Connection, prices: Sequence[RecordedPrice]) -> int:
    """Add the prices that the ledger does not have; returns how many. All of them, or none.

    A price is known by version, service, operation, model, unit and first day. Its last day and source stay as they
    were first recorded. Raises `PriceError` naming what contradicts a recorded price, and `psycopg.Error`.
    """
    added = 0
    with connection.transaction():
        for batch in _batches(prices):
            parameters = {"prices": Jsonb([_row(price) for price in batch])}
            contradicting = connection.execute(query("contradicting_prices"), parameters).fetchall()
            if contradicting:
                raise PriceError("\n".join(_contradiction(row) for row in contradicting[:_NAMED_MAX]))
            inserted = connection.execute(query("insert_prices"), parameters).fetchone()
            added += inserted[0] if inserted is not None else 0
    return added


def _batches(prices: Sequence[RecordedPrice]) -> Sequence[Sequence[RecordedPrice]]:
    return [prices[start : start + _BATCH_PRICES_MAX] for start in range(0, len(prices), _BATCH_PRICES_MAX)]


def _row(price: RecordedPrice) -> dict[str, Any]:
    midnight = "{}T00:00:00Z"
    return asdict(price) | {
        "additions": dict(price.additions),
        "valid_from": midnight.format(price.valid_from),
        "valid_to": None if price.valid_to is None else midnight.format(price.valid_to),
    }


def _contradiction(row: Sequence[Any]) -> str:
    version, service, operation, model, unit, unit_price, additions, rounded_up = row
    besides = f", besides {additions}" if additions else ""
    return (
        f"price_version {version} has another price for {service}/{operation}{f' of {model}' if model else ''} per "
        f"{unit} than the ledger, which has {unit_price:f} USD{besides}{', rounded up' if rounded_up else ''}; a "
        "changed price file needs another version"
    )
