"""Compare the sink's positions and counters with what they are of: places on the topic, entries, and what was put aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reconcile.report import Check, PartitionReport, Report, Uncompared


class Place(NamedTuple):
    """The entries of a partition of a topic. Columns of `entry_places.sql`; amounts in USD."""

    topic: str
    partition: int
    entries: int
    earlier: int
    outside: int
    outside_amount: Decimal
    without_amount: int


def read_places(connection: Connection) -> list[Place]:
    """Of all entries of the ledger, in one scan."""
    return [Place(*row) for row in connection.execute(query("entry_places"))]


def compare_positions(
    report: Report, counters: Sequence[Mapping[str, Any]], lows: Mapping[int, int], places: Sequence[Place]
) -> Check:
    """After the topic was compared. `counters`: rows of `sink_counters.sql`; `lows`: where each partition began after that.

    What each counter is of is known to the last offset where Kafka still had all that the position has passed, once.
    """
    check = Check("positions", "positions and counters against the places of topic and ledger")
    on_topic = {one.partition: one for one in report.partitions}
    held = {place.partition: place for place in places if place.topic == report.topic}
    for row in counters:
        partition = row["partition"]
        check.compared += 1
        _compare_entries(check, row, held.get(partition))
        if partition not in on_topic:
            check.differs(
                f"partition {partition}: the ledger has a position there, and the topic has no such partition"
            )
        elif on_topic[partition].low_watermark == row["first_offset"] == lows.get(partition):
            _compare_messages(check, row, on_topic[partition])
    return check


def uncompared(topic: str, counters: Sequence[Mapping[str, Any]], places: Sequence[Place]) -> Uncompared:
    """What no comparison with this topic says anything of."""
    others: dict[str, int] = {}
    for place in places:
        if place.topic != topic:
            others[place.topic] = others.get(place.topic, 0) + place.entries
    return Uncompared(
        sum(place.earlier for place in places if place.topic == topic),
        others,
        sum(max(0, row["consumed"] - (row["next_offset"] - row["first_offset"])) for row in counters),
    )


def _compare_entries(check: Check, row: Mapping[str, Any], place: Place | None) -> None:
    name, first, end = f"partition {row['partition']}", row["first_offset"], row["next_offset"]
    if row["consumed"] < end - first:
        check.differs(f"{name}: {row['consumed']} consumed, and offsets {first} to {end} passed")
    if place is not None and place.outside:
        check.differs(
            f"{name}: {place.outside} entries at offsets that were never passed ({first} to {first + row['consumed']} were)",
            int(place.outside_amount * PICODOLLARS_PER_USD),
        )
    without_amount = 0 if place is None else place.without_amount
    if row["came_unpriced"] != without_amount:
        check.differs(f"{name}: {row['came_unpriced']} counted as unpriced, {without_amount} entries without an amount")


def _compare_messages(check: Check, row: Mapping[str, Any], one: PartitionReport) -> None:
    name, passed = f"partition {row['partition']}", row["next_offset"] - row["first_offset"]
    if row["consumed"] != passed or row["next_offset"] > one.high_watermark:
        # Some were counted twice, after a position was set back by hand; or it is another topic.
        return
    gaps = passed - one.compared
    if row["skipped"] != gaps:
        check.differs(f"{name}: {row['skipped']} counted as gaps, the topic has {gaps}")
    # What an earlier topic has had put aside at the same offsets cannot be told from this one's.
    if row["quarantined"] != one.put_aside and not row["formerly_quarantined"]:
        check.differs(f"{name}: {row['quarantined']} counted as quarantined, {one.put_aside} messages are")
