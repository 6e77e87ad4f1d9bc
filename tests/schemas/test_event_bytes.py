"""The short way to an event's bytes: the same bytes and the same refusals as by the long way, whatever comes."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.twins import WAYS, using
from tests.schemas.samples import LONG_MAX, LONG_MIN, NOW_US, event_record, event_records

from costledger.schemas import InvalidEvent, check_event, encode_event, event_bytes
from costledger.schemas.codec import current_schema, without_logical_types
from costledger.schemas.event_bytes import NAMES_REMEMBERED_MAX, _names, known_event_bytes, learn
from costledger.schemas.events import OCCURRED_AT_END_US, OCCURRED_AT_MIN_US

_SCHEMA = fastavro.parse_schema(without_logical_types(current_schema("cost_event")))


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(event_bytes, request.param):
        yield


def body_of(record: dict[str, Any]) -> bytes:
    """What fastavro writes."""
    out = BytesIO()
    fastavro.schemaless_writer(out, _SCHEMA, record)
    return out.getvalue()


@given(event_records())
def test_the_bytes_are_those_of_fastavro(record: dict[str, Any]) -> None:
    """For every record within bounds whose names were seen before; a reversing one takes the long way."""
    learn(record)
    expected = body_of(record) if record["reverses_event_id"] is None else None
    assert known_event_bytes(record) == expected


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(LONG_MIN, LONG_MAX),
    st.integers(OCCURRED_AT_MIN_US - 2, OCCURRED_AT_END_US + 2),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=3),
    st.uuids().map(str),
    st.sampled_from(["USD", "EUR", "USAGE", "TAX", "x" * 200, "\x00", "1e5", "\ud800"]),
)


@given(st.sampled_from(sorted(event_record())), VALUES)
def test_what_the_long_way_refuses_is_refused(field: str, value: object) -> None:
    """One field replaced by anything: the answer does not depend on what was seen before, nor does the error."""
    learn(event_record())
    record = event_record(**{field: value})
    refusal = refusal_of(record)
    if refusal is None:
        assert encode_event(record)[10:] == body_of(record)
    else:
        with pytest.raises(InvalidEvent) as caught:
            encode_event(record)
        assert str(caught.value) == refusal


def refusal_of(record: dict[str, Any]) -> str | None:
    """What the long way says of a record."""
    try:
        check_event(record)
    except InvalidEvent as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": event_record()["event_id"].upper()},
        {"event_id": event_record()["event_id"].replace("-7", "-4", 1)},
        {"event_id": event_record()["event_id"] + "\n"},
        {"occurred_at": NOW_US, "event_id": event_record(occurred_at=NOW_US + 2_000_000)["event_id"]},
        {"amount": True},
        {"quantity": 1.0},
        {"metadata": {"k": "v" * 5000}},
        {"metadata": {1: "v"}},
    ],
)
def test_near_misses_are_refused(changes: dict[str, Any]) -> None:
    """Each is nearly what was seen before."""
    learn(event_record())
    with pytest.raises(InvalidEvent):
        encode_event(event_record(**changes))


def test_a_record_without_a_field_is_refused_as_before() -> None:
    """The error is that of the long way."""
    learn(event_record())
    record = event_record()
    del record["unit"]
    with pytest.raises(KeyError, match="unit"):
        encode_event(record)


def test_what_is_remembered_is_bounded() -> None:
    """A host whose names never repeat costs no memory for ever."""
    for number in range(NAMES_REMEMBERED_MAX + 10):
        learn(event_record(operation=f"operation-{number}"))
    assert len(_names) <= NAMES_REMEMBERED_MAX
