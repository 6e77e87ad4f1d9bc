"""From arguments to a record: what is taken, what is refused and by which name. No Kafka."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.producers.prices import PriceBook
from costledger.producers.records import Draft, build_record
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import check_event
from costledger.schemas.ids import event_id_milliseconds, new_event_id
from costledger.schemas.times import to_microseconds

BOOK = PriceBook.load()
AT = datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC)
PLAIN = Draft(user_id="user-1", service="aws-rekognition", operation="detectLabels", quantity=5, occurred_at=AT)


def record_of(**changes: Any) -> dict[str, Any]:
    """The record of the plain draft with these changes, checked against the contract."""
    _, record = build_record(replace(PLAIN, **changes), BOOK, "tests")
    check_event(record)
    return record


def test_a_record_holds_the_arguments_and_the_price() -> None:
    """Five images cost 0.005 USD, with unit, unit price and version."""
    record = record_of(metadata={"file": "a.png"})
    assert record | {"event_id": ""} == {
        "event_id": "",
        "user_id": "user-1",
        "service": "aws-rekognition",
        "operation": "detectLabels",
        "category": "USAGE",
        "quantity": 5 * 10**9,
        "unit": "image",
        "unit_price": "0.001",
        "price_version": "costledger-2026.11@2000-01-01",
        "amount": 5 * 10**9,
        "currency": "USD",
        "occurred_at": to_microseconds(AT),
        "source": "tests",
        "reverses_event_id": None,
        "metadata": {"file": "a.png"},
    }
    assert event_id_milliseconds(UUID(record["event_id"])) == to_microseconds(AT) // 1000


class Index:
    """An integer of another library, as numpy's are."""

    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("quantity", "nanounits"),
    [
        (2.5, 2_500_000_000),
        (0.1, 100_000_000),
        (1e-10, 0),
        (Decimal("1.0000000005"), 1_000_000_000),
        (Decimal("1.0000000015"), 1_000_000_002),
        ("3.25", 3_250_000_000),
        (-4, -4_000_000_000),
        (0, 0),
        (Index(), 7_000_000_000),
    ],
)
def test_quantities_are_measurements_of_any_number_type(quantity: object, nanounits: int) -> None:
    """A float is its shortest decimal form; all are rounded half to even to 1e-9 units."""
    assert record_of(quantity=quantity)["quantity"] == nanounits


def test_own_prices_replace_the_price_book() -> None:
    """A unit price is multiplied exactly, an amount is taken as it is, and no price version is claimed."""
    own = record_of(quantity=3, unit_price="0.07", unit="page")
    assert (own["amount"], own["unit_price"], own["price_version"]) == (210_000_000_000, "0.07", None)
    given_amount = record_of(quantity=3, amount=Decimal("0.000000000001"))
    assert (given_amount["amount"], given_amount["unit_price"]) == (1, None)


def test_an_event_without_a_price_has_no_amount_and_an_unknown_unit() -> None:
    """Unpriced is null, never 0."""
    record = record_of(service="nobody")
    assert (record["amount"], record["unit"]) == (None, "unit")


def test_the_time_of_an_event_id_is_the_time_of_the_event() -> None:
    """Who gives an id without a time means the time in the id."""
    event_id = new_event_id(to_microseconds(AT))
    record = record_of(event_id=str(event_id), occurred_at=None)
    assert record["event_id"] == str(event_id)
    assert record["occurred_at"] == to_microseconds(AT) // 1000 * 1000


def test_plain_values_in_metadata_become_text_and_none_is_left_out() -> None:
    """A cost is not lost because a page number is an int."""
    metadata = {"pages": 3, "share": Decimal("0.5"), "ok": True, "id": UUID(int=5), "nothing": None}
    assert record_of(metadata=metadata)["metadata"] == {
        "pages": "3",
        "share": "0.5",
        "ok": "True",
        "id": "00000000-0000-0000-0000-000000000005",
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_id": ""}, "user_id is ''; it must be text of 1 to 128"),
        ({"user_id": None}, "user_id is None"),
        ({"user_id": "u" * 129}, "user_id is "),
        ({"service": ["s3"]}, r"service is \['s3'\]; it must be text"),
        ({"operation": 5}, "operation is 5; it must be text"),
        ({"unit": 5}, "unit is 5; it must be text"),
        ({"quantity": None}, "quantity is None; it must be a number"),
        ({"quantity": True}, "quantity is True; it must be a number"),
        ({"quantity": "many"}, "quantity is 'many'; it must be a decimal number"),
        ({"quantity": float("inf")}, "quantity is 'inf'; it must be a finite number"),
        ({"quantity": 10**10}, "quantity is 10000000000000000000; it must be an integer of at most"),
        ({"amount": 0.1}, "amount is 0.1; it must be a Decimal, an int or decimal text"),
        ({"amount": "0.0000000000001"}, "amount is '0.0000000000001'; it must be a number with at most 12 decimals"),
        ({"amount": 10**7}, "amount is 10000000; it must be at most 9000000 in magnitude"),
        ({"unit_price": 0.1}, "unit_price is 0.1; it must be a Decimal, an int or decimal text"),
        ({"unit_price": "1E+50"}, r"unit_price is '1E\+50'; it must be a price from 1e-30"),
        ({"unit_price": "1.1E-30"}, "unit_price is '1.1E-30'; it must be a price with at most 30 decimals"),
        ({"category": "FREE"}, "category is 'FREE'; it must be one of"),
        ({"occurred_at": datetime(2026, 1, 1)}, "occurred_at is .*; it must be a time with a UTC offset"),  # noqa: DTZ001
        ({"occurred_at": "now"}, "occurred_at is 'now'; it must be a datetime"),
        ({"occurred_at": datetime(1999, 1, 1, tzinfo=UTC)}, "occurred_at is .*; it must be from 2000-01-01"),
        ({"event_id": "x"}, "event_id is 'x'; it must be a UUID"),
        ({"event_id": uuid4()}, "event_id is .*; it must be a UUID of version 7"),
        ({"reverses_event_id": 5}, "reverses_event_id is 5; it must be a UUID"),
        ({"metadata": ["a"]}, r"metadata is \['a'\]; it must be a map"),
        ({"metadata": {"a": ["b"]}}, r"metadata\['a'\] is \['b'\]; it must be text or a plain value"),
        ({"metadata": {5: "a"}}, r"metadata\[5\] is 5; it must be text"),
        ({"metadata": {str(n): "" for n in range(33)}}, "metadata is '33 keys'; it must be at most 32 keys"),
        ({"measures": {"charge_usd": 1.5}}, "charge_usd is 1.5; it must be a Decimal, an int or decimal text"),
        ({"measures": {"memory_gb_hours": -1}}, "memory_gb_hours is -1; it must be 0 or more"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    """The error names the field, the value and the limit."""
    with pytest.raises(InvalidValue, match=message):
        record_of(**changes)


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=200),
    st.decimals(),
    st.lists(st.integers(), max_size=2),
    st.datetimes(),
    st.binary(max_size=5),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)


@given(st.sampled_from([name for name in Draft.__dataclass_fields__ if name != "measures"]), ANYTHING)
def test_whatever_is_given_makes_a_valid_record_or_a_named_error(name: str, value: object) -> None:
    """No argument of any type leads to another exception than `InvalidValue`."""
    try:
        record = record_of(**{name: value})
    except InvalidValue:
        return
    check_event(record)
