"""Compare the sink's positions and counters with what they are of: places on the topic, entries, and what was put aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.sinks.database import Connection
from costledger.sinks.queries import query
from costledger.sinks.reconcile.report import Check, PartitionReport, Uncompared


class Place(NamedTuple):
    """The entries of a partition of a topic. Columns of `entry_places.sql`; amounts in USD."""

    topic: str
    partition: int
    is_known: bool
    entries: int
    earlier: int
    outside: int
    outside_amount: Decimal
    without_amount: int
    amount: Decimal


def read_places(connection: Connection) -> list[Place]:
    """Of all entries of the ledger, in one scan."""
    return [Place(*row) for row in connection.execute(query("entry_places"))]


def compare_positions(
    topic: str, counters: Sequence[Mapping[str, Any]], partitions: Sequence[PartitionReport], places: Sequence[Place]
) -> Check:
    """After the topic was compared. `counters`: rows of `sink_counters.sql`.

    What each counter is of is known to the last offset where Kafka still has all that the position has passed, once.
    """
    check = Check("positions", "positions and counters against the places of topic and ledger")
    on_topic = {one.partition: one for one in partitions}
    held = {place.partition: place for place in places if place.topic == topic}
    for row in counters:
        check.compared += 1
        _compare_position(check, row, on_topic.get(row["partition"]), held.get(row["partition"]))
    for place in held.values():
        if not place.is_known:
            check.differs(
                f"partition {place.partition}: {place.entries} entries, and the sink has never been there",
                _picodollars(place.amount),
            )
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


def _compare_position(check: Check, row: Mapping[str, Any], one: PartitionReport | None, place: Place | None) -> None:
    name, passed = f"partition {row['partition']}", row["next_offset"] - row["first_offset"]
    if one is None:
        check.differs(f"{name}: the ledger has a position there, and the topic has no such partition")
    if row["consumed"] < passed:
        check.differs(
            f"{name}: {row['consumed']} consumed, and offsets {row['first_offset']} to {row['next_offset']} passed"
        )
    if place is not None and place.outside:
        check.differs(
            f"{name}: {place.outside} entries at offsets that were not passed "
            f"({row['first_offset']} to {row['next_offset']} were)",
            _picodollars(place.outside_amount),
        )
    without_amount = 0 if place is None else place.without_amount
    if row["came_unpriced"] != without_amount:
        check.differs(f"{name}: {row['came_unpriced']} counted as unpriced, {without_amount} entries without an amount")
    if one is None or not _has_all(one, row):
        return
    gaps = passed - one.compared
    if row["skipped"] != gaps:
        check.differs(f"{name}: {row['skipped']} counted as gaps, the topic has {gaps}")
    if row["quarantined"] != one.put_aside:
        check.differs(f"{name}: {row['quarantined']} counted as quarantined, {one.put_aside} messages are")


def _has_all(one: PartitionReport, row: Mapping[str, Any]) -> bool:
    """Whether the topic has every place that was passed, and none was passed twice (after a rewind by hand)."""
    return bool(
        one.low_watermark == row["first_offset"]
        and row["next_offset"] <= one.high_watermark
        and row["consumed"] == row["next_offset"] - row["first_offset"]
    )


def _picodollars(amount: Decimal) -> int:
    return int(amount * PICODOLLARS_PER_USD)
