"""Stripe's balance transactions -> cost events: the fee that Stripe really took, to the cent.

Amounts are what the balance transaction says, never a price: a fee in another currency than USD has no amount here
(it is recorded as unpriced, with the fee in its metadata), since no rate of exchange is on record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from costledger.producers.adapters.reading import field, refusing, text, told, unix_time
from costledger.producers.records import Draft, Metadata, whole_number
from costledger.producers.services import STRIPE, ServiceMethods
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import Category
from costledger.schemas.ids import derived_event_id
from costledger.schemas.money import PICODOLLARS_PER_USD, to_usd
from costledger.schemas.times import to_microseconds

_USD: Final = "usd"
_PICODOLLARS_PER_CENT: Final = PICODOLLARS_PER_USD // 100
#: Transactions that are a fee themselves: what left the balance (a negative `amount`) is the cost, beside `fee`.
_FEES_THEMSELVES: Final = frozenset({"stripe_fee", "stripe_fx_fee", "tax_fee"})
_TAXES: Final = frozenset({"tax_fee"})
_ADJUSTMENTS: Final = frozenset({"adjustment"})
#: Fees listed one by one in the metadata; Stripe lists two or three.
_FEE_DETAILS_MAX: Final = 8


@refusing
def track_stripe_balance_transaction(
    tracker: ServiceMethods, user_id: str, transaction: object, *, metadata: Metadata | None = None
) -> list[UUID]:
    """Track what Stripe took for one balance transaction (an object of the `stripe` package, or a dictionary).

    One event: its operation is the transaction's type, its amount the fee, its category USAGE, ADJUSTMENT for an
    adjustment, TAX for a tax, and CREDIT where Stripe gave money back (a negative amount). A refund whose fee is 0
    costs 0. The transaction's id and time make the event's id: tracking it twice is tracking it once. Use it instead
    of `track_stripe_charge`, which estimates the same fee from the list price.
    """
    return tracker.submit(stripe_draft(user_id, transaction, metadata=metadata))


def stripe_draft(user_id: str, transaction: object, *, metadata: Metadata | None = None) -> Draft:
    """The same as a draft, without publishing it; raises `InvalidValue` for what is no balance transaction."""
    read = _read(transaction)
    cost = -read.amount if read.kind in _FEES_THEMSELVES else 0
    cost += read.fee
    occurred_at = unix_time(transaction, "created")
    if occurred_at is None:
        raise InvalidValue("created", None, "the Unix seconds of a balance transaction")
    in_usd = read.currency == _USD
    return Draft(
        user_id=user_id,
        service=STRIPE,
        operation=read.kind,
        quantity=1,
        unit="transaction",
        amount=to_usd(cost * _PICODOLLARS_PER_CENT) if in_usd else None,
        category=_category(read.kind, cost),
        occurred_at=occurred_at,
        event_id=derived_event_id(to_microseconds(occurred_at), "stripe", read.transaction_id),
        metadata={
            **(metadata or {}),
            **told(
                balance_transaction=read.transaction_id,
                source=_source(transaction),
                reporting_category=text(transaction, "reporting_category"),
            ),
            "currency": read.currency,
            "amount_minor": read.amount,
            "fee_minor": read.fee,
            **_fee_details(transaction),
        },
    )


@dataclass(frozen=True, slots=True)
class _Transaction:
    """The fields that a cost depends on; `amount` and `fee` in the currency's minor units."""

    transaction_id: str
    kind: str
    currency: str
    amount: int
    fee: int


def _read(transaction: object) -> _Transaction:
    values: dict[str, str] = {}
    for name in ("id", "type", "currency"):
        value = text(transaction, name)
        if value is None:
            raise InvalidValue(name, field(transaction, name), "the text that a balance transaction has")
        values[name] = value
    amounts = {name: whole_number(field(transaction, name), name) for name in ("amount", "fee")}
    return _Transaction(values["id"], values["type"], values["currency"].lower(), amounts["amount"], amounts["fee"])


def _category(kind: str, cost: int) -> Category:
    if kind in _ADJUSTMENTS:
        return Category.ADJUSTMENT
    if cost < 0:
        return Category.CREDIT
    return Category.TAX if kind in _TAXES else Category.USAGE


def _source(transaction: object) -> str | None:
    """The id of what the transaction is about, which may be there as a whole object."""
    return text(transaction, "source") or text(transaction, "source", "id")


def _fee_details(transaction: object) -> dict[str, Any]:
    """The parts of the fee, told beside their sum and never charged besides it."""
    details = field(transaction, "fee_details")
    if not isinstance(details, Iterable) or isinstance(details, str):
        return {}
    parts: dict[str, int] = {}
    for detail in list(details)[:_FEE_DETAILS_MAX]:
        name = f"fee_minor.{text(detail, 'type') or 'other'}"
        parts[name] = parts.get(name, 0) + whole_number(field(detail, "amount"), name)
    return parts
