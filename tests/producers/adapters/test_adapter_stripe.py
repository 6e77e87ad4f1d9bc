"""Stripe's balance transactions: the fee that was taken, to the cent, once."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
import stripe
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.producers.collecting import CollectingTracker

from costledger.producers.adapters import track_stripe_balance_transaction
from costledger.schemas.errors import InvalidValue

CREATED = 1_795_424_400


def transaction(**changes: Any) -> dict[str, Any]:
    """A charge of 100.00 USD with a fee of 3.50: Stripe's 3.20 and an application's 0.30."""
    return {
        "id": "txn_1",
        "object": "balance_transaction",
        "amount": 10_000,
        "available_on": CREATED + 172_800,
        "balance_type": "payments",
        "created": CREATED,
        "currency": "usd",
        "description": None,
        "exchange_rate": None,
        "fee": 350,
        "fee_details": [
            {"amount": 320, "application": None, "currency": "usd", "description": "fees", "type": "stripe_fee"},
            {"amount": 30, "application": "ca_1", "currency": "usd", "description": "app", "type": "application_fee"},
        ],
        "net": 9_650,
        "reporting_category": "charge",
        "source": "ch_1",
        "status": "available",
        "type": "charge",
        **changes,
    }


def real(values: dict[str, Any]) -> stripe.BalanceTransaction:
    """The same as the type of Stripe's package."""
    return stripe.BalanceTransaction.construct_from(values, "sk_test_none")


def tracked(value: Any) -> CollectingTracker:
    """A tracker to which one transaction was given."""
    tracker = CollectingTracker()
    track_stripe_balance_transaction(tracker, "user-1", value, metadata={"invoice": "i1"})
    return tracker


@pytest.mark.parametrize("form", [real, dict])
def test_a_charge_costs_its_fee_and_not_its_parts_besides(form: Any) -> None:
    """3.50 USD: 3.20 + 0.30 are within it, and are told in the metadata."""
    record = tracked(form(transaction())).only()
    assert (record["service"], record["operation"], record["category"]) == ("stripe", "charge", "USAGE")
    assert (record["amount"], record["quantity"], record["unit"]) == (3_500_000_000_000, 10**9, "transaction")
    assert (record["currency"], record["occurred_at"]) == ("USD", CREATED * 10**6)
    assert record["metadata"] == {
        "invoice": "i1",
        "balance_transaction": "txn_1",
        "source": "ch_1",
        "reporting_category": "charge",
        "currency": "usd",
        "amount_minor": "10000",
        "fee_minor": "350",
        "fee_minor.stripe_fee": "320",
        "fee_minor.application_fee": "30",
    }


@pytest.mark.parametrize(
    ("changes", "operation", "category", "usd"),
    [
        ({"type": "refund", "amount": -10_000, "fee": 0, "fee_details": []}, "refund", "USAGE", "0"),
        ({"type": "refund", "amount": -10_000, "fee": -350}, "refund", "CREDIT", "-3.50"),
        ({"type": "adjustment", "amount": -10_000, "fee": 1500}, "adjustment", "ADJUSTMENT", "15.00"),
        ({"type": "adjustment", "amount": 10_000, "fee": -1500}, "adjustment", "ADJUSTMENT", "-15.00"),
        ({"type": "stripe_fee", "amount": -1234, "fee": 0, "fee_details": []}, "stripe_fee", "USAGE", "12.34"),
        ({"type": "stripe_fee", "amount": 1234, "fee": 0, "fee_details": []}, "stripe_fee", "CREDIT", "-12.34"),
        ({"type": "tax_fee", "amount": -66, "fee": 0, "fee_details": []}, "tax_fee", "TAX", "0.66"),
        ({"type": "payout", "amount": -9_000, "fee": 25}, "payout", "USAGE", "0.25"),
    ],
)
def test_signs_and_categories(changes: dict[str, Any], operation: str, category: str, usd: str) -> None:
    """What Stripe takes is positive, what it gives back is negative."""
    record = tracked(real(transaction(**changes))).only()
    assert (record["operation"], record["category"]) == (operation, category)
    assert Decimal(record["amount"]).scaleb(-12) == Decimal(usd)


@pytest.mark.parametrize("currency", ["eur", "jpy"])
def test_another_currency_is_unpriced_and_never_converted(currency: str) -> None:
    """The fee is in the metadata, the amount is not known; also where a rate of exchange is told."""
    record = tracked(real(transaction(currency=currency, exchange_rate=1.1))).only()
    assert (record["amount"], record["unit_price"], record["quantity"]) == (None, None, 10**9)
    assert (record["metadata"]["currency"], record["metadata"]["fee_minor"]) == (currency, "350")
    assert "charge_usd" not in record["metadata"]


def test_the_same_transaction_twice_is_one_event() -> None:
    """As an object and as a dictionary, with the source as an id or as a whole object."""
    tracker = tracked(real(transaction()))
    expanded = transaction(source={"id": "ch_1", "object": "charge"})
    track_stripe_balance_transaction(tracker, "user-1", real(expanded), metadata={"invoice": "i1"})
    assert (len(tracker.records), len(tracker.ledger)) == (2, 1)
    track_stripe_balance_transaction(tracker, "user-1", transaction(id="txn_2"))
    assert tracker.usd() == Decimal("7.00")


@settings(deadline=None)
@given(st.integers(-900_000_000, 900_000_000), st.integers(1, 40))
def test_cents_are_exact(fee: int, precision_digits: int) -> None:
    """Every cent is 1e10 picodollars, in whatever decimal context of the host."""
    with localcontext() as context:
        context.prec = precision_digits
        assert tracked(transaction(fee=fee)).only()["amount"] == fee * 10**10


@pytest.mark.parametrize("name", ["id", "type", "currency", "fee", "amount", "created"])
def test_what_is_no_balance_transaction_is_rejected_and_raises_nothing(name: str) -> None:
    """The missing field is named."""
    tracker = tracked({key: value for key, value in transaction().items() if key != name})
    assert tracker.records == []
    (error,) = tracker.rejected
    assert isinstance(error, InvalidValue)
    assert error.field == name
