"""Event ids carry the event's time; derived ids never change."""

from __future__ import annotations

import copy
import uuid

from hypothesis import given
from hypothesis import strategies as st
from tests.schemas.samples import NOW_US, event_record

from costledger.schemas import check_event
from costledger.schemas.events import OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.ids import (
    derived_alert_id,
    derived_event_id,
    event_id_milliseconds,
    new_event_id,
    new_event_id_text,
)

times = st.integers(OCCURRED_AT_MIN_US, OCCURRED_AT_END_US - 1)


@given(times, st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.binary()))
def test_layout_is_that_of_uuidv7(occurred_at: int, parts: list[str | bytes]) -> None:
    """Version 7, variant 10, the milliseconds of the event: both for fresh and for derived ids."""
    for event_id in (new_event_id(occurred_at), derived_event_id(occurred_at, *parts)):
        assert type(event_id) is uuid.UUID
        assert event_id.version == 7
        assert event_id.variant == uuid.RFC_4122
        assert event_id_milliseconds(event_id) == occurred_at // 1000
        check_event(event_record(event_id=str(event_id), occurred_at=occurred_at))


@given(times)
def test_a_fresh_id_comes_with_its_text(occurred_at: int) -> None:
    """And is the `UUID` that the standard library would make of it: equal, hashed, ordered, and copied alike."""
    event_id, text = new_event_id_text(occurred_at)
    usual = uuid.UUID(text)
    assert (event_id, str(event_id), hash(event_id), event_id.is_safe) == (usual, text, hash(usual), usual.is_safe)
    assert event_id >= usual >= event_id
    assert copy.deepcopy(event_id) == usual


def test_fresh_ids_of_one_instant_differ() -> None:
    """A hundred thousand events of one microsecond have ids of their own."""
    assert len({new_event_id(NOW_US) for _ in range(100_000)}) == 100_000


@given(times, st.lists(st.binary(), max_size=4), st.lists(st.binary(), max_size=4))
def test_derived_ids_follow_their_parts(occurred_at: int, one: list[bytes], other: list[bytes]) -> None:
    """The same parts give the same id; other parts, or the same bytes cut elsewhere, give another."""
    assert (derived_event_id(occurred_at, *one) == derived_event_id(occurred_at, *other)) is (one == other)


def test_text_and_its_bytes_are_the_same_part() -> None:
    """A part may be text or its UTF-8."""
    assert derived_event_id(NOW_US, "ü", "row 1") == derived_event_id(NOW_US, "ü".encode(), b"row 1")


def test_derived_ids_are_pinned() -> None:
    """These values are on disk in ledgers: a change here would count every import twice."""
    assert str(derived_event_id(NOW_US, "llm-trace", b"\x00\x01", "7")) == "01a207a2-3280-7b9a-9d5c-47c56fa4ffe2"
    assert (
        str(derived_alert_id("BUDGET_THRESHOLD", "ALARM", "user-0001", "total", "3", "1/2", "75"))
        == "42986a46-beb0-5814-8864-84ce460d2ba9"
    )
