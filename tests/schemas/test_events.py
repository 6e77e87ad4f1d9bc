"""Every bound of an event is checked, and the message names the field, the value and the limit."""

from __future__ import annotations

import pickle
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from tests.schemas.samples import NOW_US, event_record, event_records, uuid_text

from costledger.schemas import Category, CostEvent, InvalidEvent, check_event
from costledger.schemas.events import AHEAD_MICROSECONDS_MAX, OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.ids import derived_event_id
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX
from costledger.schemas.times import from_microseconds

NAMES = ["user_id", "service", "operation", "source", "unit", "price_version"]
LONGEST = dict.fromkeys(NAMES, 128) | {"unit": 64}


def refusal(received_at_us: int | None = None, **changes: Any) -> InvalidEvent:
    """The error that a record with these changes raises."""
    with pytest.raises(InvalidEvent) as refused:
        check_event(event_record(**changes), received_at_us)
    return refused.value


@given(event_records())
def test_events_within_bounds_pass(record: dict[str, Any]) -> None:
    """What lies within the bounds, also on them, is accepted and survives the way through CostEvent."""
    check_event(record)
    assert CostEvent.from_record(record).to_record() == record


@pytest.mark.parametrize("name", NAMES)
def test_names_up_to_the_longest_pass(name: str) -> None:
    """Characters count, not bytes: the longest name in 4-byte UTF-8 passes."""
    check_event(event_record(**{name: "\U0001f4b0" * LONGEST[name]}))
    check_event(event_record(**{name: "x"}))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a\x00b",
        "a\nb",
        "a\tb",
        "\x7f",
        "\x1b[31m",
        "a\u2028b",
        "\ud800",
        "a\udfff",
        "\u200b",
        b"bytes",
        5,
        ["x"],
        "too long",
    ],
)
def test_names_out_of_bounds_are_refused(name: str, value: Any) -> None:
    """Empty, blank, control characters, NUL, line ends, lone surrogates, invisible, other types, too long."""
    value = "x" * (LONGEST[name] + 1) if value == "too long" else value
    error = refusal(**{name: value})
    assert (error.field, error.value, error.reason) == (name, value, f"invalid_{name}")
    assert f"{name} is " in str(error)
    assert f"1 to {LONGEST[name]} printable characters" in str(error)
    str(error).encode()


@pytest.mark.parametrize("name", ["user_id", "service", "operation", "source", "unit"])
def test_names_are_needed(name: str) -> None:
    """None is no name (a price version may be None)."""
    assert refusal(**{name: None}).field == name
    check_event(event_record(price_version=None))


@pytest.mark.parametrize("value", ["usage", "", "REFUND", None, 3, ["USAGE"]])
def test_category_is_one_of_five(value: Any) -> None:
    """Anything else is refused with the five."""
    assert "ADJUSTMENT, CREDIT, PURCHASE, TAX, USAGE" in str(refusal(category=value))


def test_every_category_passes() -> None:
    """All five are accepted."""
    for category in Category:
        check_event(event_record(category=str(category)))


@pytest.mark.parametrize("value", ["EUR", "usd", "", None])
def test_currency_is_usd(value: Any) -> None:
    """There is one currency."""
    assert str(refusal(currency=value)) == f"currency is {value!r}; it must be USD"


@pytest.mark.parametrize(
    ("name", "limit", "shown"),
    [("quantity", QUANTITY_NANOUNITS_MAX, "9000000000 units"), ("amount", AMOUNT_PICODOLLARS_MAX, "9000000 USD")],
)
def test_numbers_are_bounded_integers(name: str, limit: int, shown: str) -> None:
    """The bound passes with either sign; one more, floats, bools and text do not."""
    for value in (limit, -limit, 0):
        check_event(event_record(**{name: value}))
    for bad in (limit + 1, -limit - 1, 1.0, float("nan"), True, "1", 10**5000):
        error = refusal(None, **{name: bad})
        assert error.field == name
        assert f"at most {limit} in magnitude ({shown})" in str(error)


def test_amount_may_be_missing_and_quantity_not() -> None:
    """None is unpriced, never zero; a quantity is always there."""
    check_event(event_record(amount=None))
    assert refusal(quantity=None).field == "quantity"


def test_time_bounds_are_half_open() -> None:
    """From 2000-01-01 up to, not including, 2100-01-01; the message shows the time as RFC 3339."""
    for occurred_at in (OCCURRED_AT_MIN_US, OCCURRED_AT_END_US - 1):
        check_event(event_record(occurred_at=occurred_at))
    assert "1999-12-31T23:59:59.999999+00:00" in str(refusal(occurred_at=OCCURRED_AT_MIN_US - 1))
    assert "2100-01-01T00:00:00+00:00" in str(refusal(occurred_at=OCCURRED_AT_END_US))


@pytest.mark.parametrize(
    "value", [None, 1.5, "2026-11-23", True, -(2**63), 2**63 - 1, 10**30, from_microseconds(NOW_US)]
)
def test_times_that_are_none_are_refused(value: Any) -> None:
    """Other types and times outside every calendar are refused, not failed on."""
    assert refusal(occurred_at=value).reason == "invalid_occurred_at"


def test_ten_minutes_ahead_and_no_microsecond_more() -> None:
    """An event exactly 10 minutes ahead of the broker passes; one microsecond more is refused with both times."""
    record = event_record()
    check_event(record, NOW_US - AHEAD_MICROSECONDS_MAX)
    check_event(record, None)
    check_event(record, NOW_US + 10 * 366 * 86_400 * 1_000_000)
    error = refusal(NOW_US - AHEAD_MICROSECONDS_MAX - 1)
    assert "at most 10 minutes ahead" in str(error)
    assert "2026-11-23T09:00:00" in str(error)
    assert "2026-11-23T08:49:59.999999" in str(error)


def test_event_id_may_differ_by_a_second() -> None:
    """An emitter may read its clock twice: one second either way passes, a millisecond more does not."""
    for shift_ms in (-1000, 0, 1000):
        check_event(event_record(event_id=str(derived_event_id(NOW_US + shift_ms * 1000, "x"))))
    for shift_ms in (-1001, 1001):
        error = refusal(event_id=str(derived_event_id(NOW_US + shift_ms * 1000, "x")))
        assert "with the time of occurred_at (2026-11-23T09:00:00+00:00)" in str(error)


GOOD_ID = event_record()["event_id"]


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "x" * 36,
        GOOD_ID.upper(),
        GOOD_ID.replace("-", ""),
        "{" + GOOD_ID + "}",
        "urn:uuid:" + GOOD_ID,
        GOOD_ID + " ",
        GOOD_ID.replace("-", "", 1) + "-",
        "_".join(GOOD_ID.split("-")),
        "\uff10" + GOOD_ID[1:],
    ],
)
@pytest.mark.parametrize("name", ["event_id", "reverses_event_id"])
def test_ids_have_one_spelling(name: str, value: Any) -> None:
    """Only the canonical 36 characters in lower case are an id."""
    if name == "reverses_event_id" and value is None:
        check_event(event_record(reverses_event_id=None))
        return
    error = refusal(**{name: value})
    assert error.field == name
    assert "canonical 36 characters" in str(error)


def test_event_id_is_a_uuidv7() -> None:
    """Another version, or another variant, is refused; a reversed event may have any UUID."""
    number = derived_event_id(NOW_US, "x").int
    for wrong in (
        str(uuid4()),
        uuid_text(number ^ (0b11 << 76)),
        uuid_text(number ^ (0b01 << 62)),
        uuid_text(number & ~(0b11 << 62)),
    ):
        assert "a UUID of version 7" in str(refusal(event_id=wrong))
        check_event(event_record(reverses_event_id=wrong))


@pytest.mark.parametrize("value", ["0", "-1.5", "0.0000025", "1E-7", "1e5", "1" * 30, "0." + "1" * 30])
def test_prices_are_decimal_text(value: str) -> None:
    """Plain or with an exponent, of either sign."""
    check_event(event_record(unit_price=value))


@pytest.mark.parametrize(
    "value", ["", "x", "NaN", "Infinity", "1,5", "1\n", "1E+30", "1E+999999", "1E-31", "1" * 31, "0" * 65, 1, 0.5, b"1"]
)
def test_prices_out_of_bounds_are_refused(value: Any) -> None:
    """No number, not finite, too long, too large, too fine, or no text."""
    error = refusal(unit_price=value)
    assert error.field == "unit_price"
    assert "decimal text of at most 64 characters" in str(error)


def test_metadata_up_to_the_bounds_passes() -> None:
    """32 keys and 4096 bytes of UTF-8 in all pass, control characters and empty texts included."""
    check_event(event_record(metadata={}))
    check_event(event_record(metadata={f"{key:02d}": "x" * 126 for key in range(32)}))
    check_event(event_record(metadata={"": "", "line": "one\ntwo\t\x01\x7f"}))
    check_event(event_record(metadata={"k" * 2048: "\U0001f4b0" * 512}))


@pytest.mark.parametrize(
    ("metadata", "field", "limit"),
    [
        ({str(key): "" for key in range(33)}, "metadata", "at most 32 keys"),
        ({"k" * 2048: "v" * 2049}, "metadata", "at most 4096 bytes of UTF-8"),
        ({"k": "\U0001f4b0" * 1024}, "metadata", "at most 4096 bytes of UTF-8"),
        ({"k": "a\x00b"}, "metadata['k']", "text without NUL"),
        ({"a\x00b": "v"}, "metadata['a\\x00b']", "text without NUL"),
        ({"k": 5}, "metadata['k']", "text without NUL"),
        ({5: "v"}, "metadata[5]", "text without NUL"),
        ({"k": "\ud800"}, "metadata['k']", "text that UTF-8 can hold"),
        ({"\udfff": "v"}, "metadata['\\udfff']", "text that UTF-8 can hold"),
        ([], "metadata", "a map of strings"),
        (None, "metadata", "a map of strings"),
        ("text", "metadata", "a map of strings"),
    ],
)
def test_metadata_out_of_bounds_is_refused(metadata: Any, field: str, limit: str) -> None:
    """Too many keys, too many bytes, NUL, other types, lone surrogates: the key is named."""
    error = refusal(metadata=metadata)
    assert (error.field, error.reason) == (field, "invalid_metadata")
    assert limit in str(error)
    str(error).encode()


def test_messages_are_bounded() -> None:
    """A huge value, or a huge key, does not make a huge message."""
    for changes in (
        {"user_id": "x" * 10**6},
        {"metadata": {"k" * 10**6: 5}},
        {"metadata": {"k": b"v" * 10**6}},
        {"quantity": 10**5000},
    ):
        assert len(str(refusal(**changes))) < 600


def test_errors_survive_pickling() -> None:
    """An error crosses a process boundary with its parts."""
    error = pickle.loads(pickle.dumps(refusal(user_id="")))  # noqa: S301 - our own bytes
    assert (error.field, error.value, error.reason) == ("user_id", "", "invalid_user_id")
