"""Sums of events by hour and day: exact, the same by the compiled twin, in an order that all writers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fixtures.twins import WAYS, using
from tests.schemas.samples import event_record
from tests.sinks.conftest import Ledger

from costledger.schemas.event_reading import of_record
from costledger.schemas.events import OCCURRED_AT_MIN_US
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX
from costledger.sinks import totals
from costledger.sinks.totals import NO_MAXIMUM, Totals, add_hourly, as_arrays, daily, hourly

HOUR_US = 3_600_000_000
REVERSED = "018bcfe5-6800-7000-8000-000000000000"

#: Of few users and hours, so that many meet.
RECORDS = st.lists(
    st.builds(
        lambda user, hour, service, quantity, amount, reverses: event_record(
            user_id=user,
            occurred_at=OCCURRED_AT_MIN_US + hour * HOUR_US + 5,
            service=service,
            quantity=quantity,
            amount=amount,
            reverses_event_id=reverses,
        ),
        st.sampled_from(["ann", "bob", "ann2", "Zoë"]),
        st.integers(0, 30),
        st.sampled_from(["a", "b", "aa"]),
        st.integers(-QUANTITY_NANOUNITS_MAX, QUANTITY_NANOUNITS_MAX),
        st.none() | st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX),
        st.sampled_from([None, None, REVERSED]),
    ),
    max_size=60,
)


@pytest.fixture(scope="module", autouse=True, params=WAYS)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for the Python code and for its compiled twin."""
    with using(totals, request.param):
        yield


def naive(records: list[dict[str, Any]], period_us: int) -> dict[tuple[str, int, str, str], list[int]]:
    """The same, summed field by field."""
    found: dict[tuple[str, int, str, str], list[dict[str, Any]]] = {}
    for record in records:
        key = (record["user_id"], record["occurred_at"] // period_us, record["service"], record["operation"])
        found.setdefault(key, []).append(record)
    sums = {}
    for key, rows in found.items():
        signs = [1 if row["reverses_event_id"] is None else -1 for row in rows]
        paid = [row["amount"] for row, sign in zip(rows, signs, strict=True) if row["amount"] is not None and sign > 0]
        sums[key] = [
            sum(signs),
            sum(sign for row, sign in zip(rows, signs, strict=True) if row["amount"] is None),
            sum(row["quantity"] for row in rows),
            sum(row["amount"] or 0 for row in rows),
            max(paid, default=NO_MAXIMUM),
        ]
    return sums


@settings(deadline=None, max_examples=300)
@given(RECORDS)
def test_sums_are_exact(records: list[dict[str, Any]]) -> None:
    """Beyond 64 bits, of either sign; reversing entries take back."""
    by_hour = hourly([of_record(record) for record in records])
    assert by_hour == naive(records, HOUR_US)
    for record in records:
        add_hourly(by_hour, [of_record(record)])
    assert by_hour == naive(records + records, HOUR_US)
    by_hour = hourly([of_record(record) for record in records])
    assert daily(by_hour) == naive(records, 24 * HOUR_US)


#: Whatever PostgreSQL can hold, and what means something in an array literal.
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5) | st.sampled_from(
    ['"', "\\", '\\"', "{", "}", ",", "NULL", "null", " a ", "", "\n", "{}", "a,b", "'", "None", "%(users)s"]
)
SUMS = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**30), 10**30),
    st.integers(-(10**30), 10**30),
    st.just(NO_MAXIMUM) | st.integers(-AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX),
).map(list)
ROWS = """
    SELECT * FROM unnest(%(users)s::text[], %(periods)s::bigint[], %(services)s::text[], %(operations)s::text[],
        %(events)s::bigint[], %(unpriced)s::bigint[], %(quantities)s::numeric[], %(amounts)s::numeric[],
        %(maxima)s::numeric[])
"""


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.tuples(NAMES, st.integers(-1000, 10**6), NAMES, NAMES), SUMS, max_size=20))
def test_postgresql_reads_what_was_summed_sorted_by_its_whole_key(ledger: Ledger, sums: Totals) -> None:
    """Whatever the names have in them, and in whatever order they came: two writers lock rows in the same order."""
    rows = ledger.connection.execute(ROWS, as_arrays(sums)).fetchall()
    assert [(tuple(row[:4]), [NO_MAXIMUM if one is None else int(one) for one in row[4:]]) for row in rows] == sorted(
        sums.items()
    )
