"""I1 to I4 and I7: the ledger against the oracle, its own roll-ups and the topic; plain SQL, no code of the product."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.fault.harness.findings import Findings
from tests.fault.harness.tables import Counts

from costledger.sinks.database import Connection

EXAMPLES_MAX: Final = 5

_SUMS = """
WITH expected AS (
    SELECT user_id, service, (occurred_at AT TIME ZONE 'UTC')::date AS day, sum(amount) AS amount, count(*) AS events
    FROM oracle.attempted AS a
    WHERE must OR EXISTS (SELECT FROM ledger.entries AS e WHERE e.event_id = a.event_id)
    GROUP BY 1, 2, 3
), found AS (
    SELECT user_id, service, (occurred_at AT TIME ZONE 'UTC')::date AS day, sum(amount) AS amount, count(*) AS events
    FROM ledger.entries
    GROUP BY 1, 2, 3
)
SELECT user_id, service, day, expected.amount, found.amount, expected.events, found.events
FROM expected FULL JOIN found USING (user_id, service, day)
WHERE expected.amount IS DISTINCT FROM found.amount OR expected.events IS DISTINCT FROM found.events
ORDER BY 1, 2, 3
"""
_CHANGED = """
SELECT a.event_id, a.amount, e.amount
FROM oracle.attempted AS a JOIN ledger.entries AS e USING (event_id)
WHERE (a.user_id, a.service, a.operation, a.occurred_at) <> (e.user_id, e.service, e.operation, e.occurred_at)
   OR a.amount IS DISTINCT FROM e.amount
"""
_LOST = """
SELECT a.event_id FROM oracle.attempted AS a
WHERE must AND NOT EXISTS (SELECT FROM ledger.entries AS e WHERE e.event_id = a.event_id)
"""
_INVENTED = """
SELECT e.event_id FROM ledger.entries AS e
WHERE NOT EXISTS (SELECT FROM oracle.attempted AS a WHERE a.event_id = e.event_id)
"""
_TWICE = "SELECT event_id, count(*) FROM ledger.entries GROUP BY 1 HAVING count(*) > 1"
_ROLLUP = """
WITH expected AS (
    SELECT user_id, service, operation, {bucket} AS at,
           sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) AS events,
           sum(CASE WHEN amount IS NOT NULL THEN 0 WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) AS unpriced,
           sum(quantity) AS quantity, coalesce(sum(amount), 0) AS amount,
           max(amount) FILTER (WHERE reverses_event_id IS NULL) AS max_amount
    FROM ledger.entries GROUP BY 1, 2, 3, 4
)
SELECT user_id, service, operation, at, e.amount, t.amount, e.events, t.events
FROM expected AS e FULL JOIN (SELECT *, {column} AS at FROM ledger.{table}) AS t USING (user_id, service, operation, at)
WHERE (e.events, e.unpriced, e.quantity, e.amount, e.max_amount)
      IS DISTINCT FROM (t.events, t.unpriced, t.quantity, t.amount, t.max_amount)
"""
_COMPLETENESS = """
SELECT s.partition, s.first_offset, s.next_offset, s.consumed, s.inserted, s.duplicates, s.quarantined, s.gaps,
       s.unpriced, s.unexplained, e.entries, e.unpriced,
       (SELECT count(*) FROM ledger.quarantine AS q WHERE q.topic = s.topic AND q.partition = s.partition)
FROM analyst.completeness AS s, LATERAL (
    SELECT count(*) AS entries, count(*) FILTER (WHERE amount IS NULL) AS unpriced FROM ledger.entries
    WHERE kafka_topic = s.topic AND kafka_partition = s.partition) AS e
WHERE s.topic = %s ORDER BY 1
"""
_UNKNOWN_PLACE = """
SELECT e.kafka_partition, e.kafka_offset FROM ledger.entries AS e
LEFT JOIN ledger.sink_offsets AS s ON s.topic = e.kafka_topic AND s.partition = e.kafka_partition
WHERE s.topic IS NULL OR e.kafka_offset >= s.next_offset OR e.kafka_offset < s.first_offset
"""
_TAKEN_TWICE = """
SELECT kafka_topic, kafka_partition, kafka_offset FROM ledger.entries GROUP BY 1, 2, 3 HAVING count(*) > 1
"""
_POISON = """
SELECT encode(p.sha256, 'hex'), count(q.id)
FROM oracle.put_aside AS p LEFT JOIN ledger.quarantine AS q ON q.payload_sha256 = p.sha256
WHERE p.sha256 IS NOT NULL GROUP BY 1 HAVING count(q.id) <> 1
"""
_ASIDE = """
WITH kept AS (
    -- The id of a single-object encoded event: after ten bytes of header and one of length.
    SELECT encode(substring(payload FROM 12 FOR 36), 'escape') AS event_id, reason, count(*) AS times
    FROM ledger.quarantine GROUP BY 1, 2
), owed AS (
    SELECT event_id::text, reason, count(*) AS times FROM oracle.put_aside WHERE event_id IS NOT NULL GROUP BY 1, 2
)
SELECT owed.event_id, owed.reason, owed.times, coalesce(sum(kept.times), 0)
FROM owed LEFT JOIN kept
  ON kept.event_id = owed.event_id
 AND CASE WHEN owed.reason IS NULL THEN kept.reason <> 'id_conflict' ELSE kept.reason = owed.reason END
GROUP BY 1, 2, 3 HAVING coalesce(sum(kept.times), 0) <> owed.times
"""


def check_sums(connection: Connection, findings: Findings) -> None:
    """I1."""
    _none(connection, findings, "I1", "sums differ (user, service, day, oracle, ledger, events, events)", _SUMS)
    _none(connection, findings, "I1", "entries differ from what was attempted (id, oracle, ledger)", _CHANGED)


def check_events(connection: Connection, findings: Findings) -> None:
    """I2. The figures `lost` and `doubled` are from here."""
    # Who has attempted nothing has lost nothing, and shown nothing.
    owed = _value(connection, "SELECT count(*) FROM oracle.attempted WHERE must")
    findings.expect("I2", owed > 0, "the oracle has no event that must be in the ledger")
    lost = _none(connection, findings, "I2", "events that must be there are not", _LOST)
    _none(connection, findings, "I2", "entries that nobody attempted", _INVENTED)
    doubled = _none(connection, findings, "I2", "ids that are there twice", _TWICE)
    doubled += _none(connection, findings, "I4", "offsets that became an entry twice", _TAKEN_TWICE)
    findings.figures["lost"] = lost
    findings.figures["doubled"] = doubled


def check_rollups(connection: Connection, findings: Findings) -> None:
    """I3, on one snapshot."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table, column, bucket in (
            ("hourly_totals", "hour", "date_trunc('hour', occurred_at, 'UTC')"),
            ("daily_totals", "day", "(occurred_at AT TIME ZONE 'UTC')::date"),
        ):
            statement = _ROLLUP.format(table=table, column=column, bucket=bucket)
            _none(connection, findings, "I3", f"{table} differ (key, entries, roll-up, events, events)", statement)


def check_offsets(
    connection: Connection, findings: Findings, topic: str, ends: dict[int, int], messages: Mapping[int, int]
) -> None:
    """I4: every offset of the topic is accounted for, as analysts are told; by partition its end, and how many messages it
    has."""
    for row in connection.execute(_COMPLETENESS, (topic,)).fetchall():
        partition, first, following, consumed, inserted, duplicates, quarantined, skipped, *others = row
        unpriced, unexplained, entries, unpriced_entries, put_aside = others
        findings.expect("I4", first == 0, f"partition {partition} is accounted for from offset {first} on, not from 0")
        # More, where a scenario has set the offsets back.
        findings.expect("I4", consumed >= following, f"partition {partition}: {consumed} consumed of {following}")
        findings.expect(
            "I4",
            consumed == inserted + duplicates + quarantined + skipped,
            f"partition {partition}: {consumed} consumed, but {inserted} + {duplicates} + {quarantined} + {skipped}",
        )
        # Offsets that are read a second time, because a scenario has set them back, may be passed over a second time.
        gaps = following - messages.get(partition, 0)
        findings.expect(
            "I4",
            skipped == gaps or (skipped >= gaps and consumed > following),
            f"partition {partition}: {skipped} places without a message, the topic has {gaps}",
        )
        findings.expect("I4", unexplained == 0, f"partition {partition}: {unexplained} unexplained")
        findings.expect(
            "I4",
            unpriced == unpriced_entries,
            f"partition {partition}: {unpriced} unpriced, {unpriced_entries} entries without an amount",
        )
        findings.expect("I4", entries == inserted, f"partition {partition}: {inserted} inserted, {entries} entries")
        findings.expect(
            "I4", put_aside == quarantined, f"partition {partition}: {quarantined} quarantined, {put_aside} put aside"
        )
    positions = dict(
        connection.execute("SELECT partition, next_offset FROM ledger.sink_offsets WHERE topic = %s", (topic,))
    )
    for partition, end in ends.items():
        at = positions.get(partition, 0)
        findings.expect("I4", at == end, f"partition {partition} is at {at}, the topic ends at {end}")
    _none(connection, findings, "I4", "entries outside the offsets accounted for (partition, offset)", _UNKNOWN_PLACE)


def check_put_aside(connection: Connection, findings: Findings, counts: Counts) -> None:
    """I7 in quarantine, and that nothing else was put aside."""
    _none(connection, findings, "I7", "poison messages that are not in quarantine once (hash, times)", _POISON)
    _none(
        connection,
        findings,
        "I7",
        "refused events and conflicts that are not there once (id, reason, wanted, found)",
        _ASIDE,
    )
    expected = counts.by_kind["poison"] + counts.by_kind["conflict"] + counts.by_kind["refused"]
    found = _value(connection, "SELECT count(*) FROM ledger.quarantine")
    findings.expect("I7", found == expected, f"{found} messages are in quarantine, {expected} were to be")
    conflicts = _value(connection, "SELECT count(*) FROM ledger.quarantine WHERE reason = 'id_conflict'")
    wanted = counts.by_kind["conflict"]
    findings.expect("I7", conflicts == wanted, f"{conflicts} conflicts are in quarantine, {wanted} were attempted")


def _none(connection: Connection, findings: Findings, invariant: str, what: str, statement: str) -> int:
    # `text` goes to the server as it is: the statements are constants of this module.
    rows = connection.execute(statement.encode()).fetchall()
    if rows:
        examples = "; ".join(str(tuple(map(str, row))) for row in rows[:EXAMPLES_MAX])
        findings.found(invariant, f"{len(rows)} {what}: {examples}")
    return len(rows)


def _value(connection: Connection, statement: str) -> int:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])
