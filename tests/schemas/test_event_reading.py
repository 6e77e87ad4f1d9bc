"""The short way from an event's bytes: the same event and the same refusals as by the long way, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.fixtures.twins import WAYS, using
from tests.schemas.samples import NOW_US, event_record, event_records

from costledger.schemas import InvalidEvent, check_event, decode_event, encode_event, event_reading
from costledger.schemas.errors import DecodeError
from costledger.schemas.event_reading import (
    CHARGES_REMEMBERED_MAX,
    PRICINGS_REMEMBERED_MAX,
    Tail,
    _charges,
    _read_known,
    _tails,
    _times,
    forget,
    quantity_of,
    read_event,
)
from costledger.schemas.events import AHEAD_MICROSECONDS_MAX, OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.ids import derived_event_id

PLAIN = event_record(metadata={})
METADATA = ({}, {"region": "eu-central-1"}, {"a": "b", "c": "d"}, {"a": ""}, {"ü": "x" * 62, "y": "z" * 63})
RECEIVED = st.none() | st.integers(OCCURRED_AT_MIN_US, OCCURRED_AT_END_US)


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(event_reading, request.param):
        yield


def is_known(data: bytes) -> bool:
    """Whether the short way reads it."""
    if event_reading._compiled is None:
        return _read_known(data) is not None
    return event_reading._compiled(data, _charges, _tails, Tail) is not None


def by_the_long_way(data: bytes, received_at_us: int | None) -> dict[str, Any] | str:
    """The record, or what is said against it."""
    try:
        record = decode_event(data)
        check_event(record, received_at_us)
    except (DecodeError, InvalidEvent) as error:
        return f"{type(error).__name__}: {error}"
    return record


def read(data: bytes, received_at_us: int | None) -> dict[str, Any] | str:
    """The same, read."""
    try:
        event_id, user_id, charge, quantity, pricing, amount, occurred_at, tail = read_event(data, received_at_us)
    except (DecodeError, InvalidEvent) as error:
        return f"{type(error).__name__}: {error}"
    assert charge.key == (charge.service, charge.operation)
    return {
        "event_id": event_id,
        "user_id": user_id,
        "service": charge.service,
        "operation": charge.operation,
        "category": charge.category,
        "quantity": quantity_of(quantity),
        **pricing._asdict(),
        "amount": amount,
        "currency": "USD",
        "occurred_at": occurred_at,
        **tail._asdict(),
    }


@given(event_records(), RECEIVED)
def test_an_event_is_read_alike_the_first_time_and_the_second(record: dict[str, Any], received: int | None) -> None:
    """What is remembered changes nothing, for any event within bounds and any clock of the broker."""
    data = encode_event(record)
    expected = by_the_long_way(data, received)
    assert read(data, received) == expected
    assert read(data, received) == expected


@given(st.data())
def test_changed_bytes_are_read_alike(data: st.DataObject) -> None:
    """Bytes replaced, removed, put in between or cut off, of an event that is known by heart."""
    amount = data.draw(st.sampled_from([None, 0, -1, 3_750_000_000]))
    good = encode_event(event_record(metadata=data.draw(st.sampled_from(METADATA)), amount=amount))
    read(good, None)
    at = data.draw(st.integers(0, len(good)))
    until = data.draw(st.integers(at, min(len(good), at + 9)))
    put = data.draw(st.binary(max_size=9) | st.sampled_from([b"\x00", b"\x80", b"\xff" * 9, b"\x80\x00", b"\x02\x00"]))
    changed = good[:at] + put + good[until:]
    received = data.draw(RECEIVED)
    assert read(changed, received) == by_the_long_way(changed, received)


@given(st.integers(OCCURRED_AT_MIN_US, OCCURRED_AT_END_US - 1), st.integers(-2_000, 2_000), st.integers(-2, 2))
@example(OCCURRED_AT_MIN_US, 0, 0)
@example(OCCURRED_AT_END_US - 1, 0, 0)
def test_times_are_read_alike(occurred_at: int, id_is_off_milliseconds: int, ahead: int) -> None:
    """Times at all distances from that in the id and from the broker's clock, around the limits of both."""
    event_id = str(derived_event_id(max(0, occurred_at + id_is_off_milliseconds * 1000), "x"))
    template = encode_event({**PLAIN, "occurred_at": occurred_at, "event_id": str(derived_event_id(occurred_at, "x"))})
    data = template[:11] + event_id.encode() + template[47:]
    received = occurred_at - AHEAD_MICROSECONDS_MAX + ahead
    for clock in (None, received):
        read(template, None)
        assert read(data, clock) == by_the_long_way(data, clock)


def test_a_known_event_takes_the_short_way() -> None:
    """Else it would be right and slow; one with metadata too, unless a text is empty or long."""
    forget()
    data = encode_event(PLAIN)
    assert not is_known(data)
    read_event(data, NOW_US)
    assert is_known(data)
    other = event_record(metadata={}, user_id="somebody else", quantity=7, amount=-1, occurred_at=NOW_US + 60_000_000)
    assert is_known(encode_event(other))
    assert is_known(encode_event(event_record()))
    assert [
        is_known(encode_event(event_record(metadata=metadata)))
        for metadata in (*METADATA, {"a": "b" * 64}, {str(number): "z" for number in range(32)})
    ] == [True, True, True, False, True, False, True]


@pytest.mark.parametrize(
    "texts",
    [
        b"\x02\x02a\x02b\x00",  # as usual
        b"\x04\x02a\x02b\x02a\x02c\x00",  # a key twice
        b"\x02\x02a\x02b\x02\x02c\x02d\x00",  # two blocks
        b"\x01\x08\x02a\x02b\x00",  # a block that says its length
        b"\x02\x02a\x04b\x00\x00",  # NUL in a text
        b"\x02\x02a\x04\xed\xa0\x00",  # no UTF-8
        b"\x02\x02a\x02b",  # no end
        b"\x02\x02a\x02b\x00\x00",  # more behind the end
        b"\x00\x00",  # no block, and more behind the end
        b"\x42" + b"".join(b"\x04%02d\x02z" % number for number in range(33)) + b"\x00",  # too many
    ],
)
def test_odd_metadata_is_read_alike(texts: bytes) -> None:
    """Whatever a map may look like that is not the one block that is usual, and the union before it."""
    data = encode_event(PLAIN)
    read(data, None)
    for branch in (b"\x00", b"\x01", b"\x02", b"\x04"):
        odd = data[:-2] + branch + texts
        assert read(odd, None) == by_the_long_way(odd, None)


def test_several_prices_of_one_charge_are_remembered() -> None:
    """An old price version beside the new one does not make both slow."""
    forget()
    events = [encode_event(event_record(metadata={}, price_version=version)) for version in ("1", "2", None)]
    for data in events:
        read_event(data, None)
    assert all(is_known(data) for data in events)


@pytest.mark.parametrize(
    ("changes", "most"),
    [
        (lambda number: {"service": f"s{number}"}, CHARGES_REMEMBERED_MAX),
        (lambda number: {"unit": f"u{number}"}, PRICINGS_REMEMBERED_MAX),
    ],
)
def test_what_is_remembered_is_bounded(changes: Any, most: int) -> None:
    """However many names somebody invents; and what was forgotten is read alike."""
    forget()
    first = encode_event(event_record(metadata={}, **changes(0)))
    for number in range(most + 10):
        read_event(encode_event(event_record(metadata={}, **changes(number))), None)
    assert len(_charges) <= CHARGES_REMEMBERED_MAX
    assert max(len(charge.pricings) for charge in _charges.values()) <= PRICINGS_REMEMBERED_MAX
    assert len(_tails) == 1
    assert len(_times) == 1
    assert read(first, None) == by_the_long_way(first, None)
