-- What a user has spent in [start, end), in 1e-12 USD. Full hours come from the hourly totals; only where a zone's month
-- does not begin or end on a full hour of UTC, the entries of the begun hour are added up. One statement: one snapshot.
WITH bounds AS (
    SELECT b.start_at, b.end_at,
           date_bin('1 hour', b.start_at + interval '1 hour' - interval '1 microsecond',
                    timestamptz '2000-01-01 00:00:00+00') AS first_hour,
           date_bin('1 hour', b.end_at, timestamptz '2000-01-01 00:00:00+00') AS end_hour
    FROM (SELECT %(start)s::timestamptz AS start_at, %(end)s::timestamptz AS end_at) AS b
), parts AS (
    SELECT sum(t.amount) AS amount
    FROM bounds AS b
    JOIN ledger.hourly_totals AS t ON t.hour >= b.first_hour AND t.hour < b.end_hour
    WHERE t.user_id = %(user_id)s
    UNION ALL
    SELECT sum(e.amount)
    FROM bounds AS b
    CROSS JOIN LATERAL (
        VALUES (b.start_at, least(b.first_hour, b.end_at)), (greatest(b.end_hour, b.first_hour), b.end_at)
    ) AS edge (from_at, to_at)
    JOIN ledger.entries AS e
      ON e.occurred_at >= edge.from_at AND e.occurred_at < edge.to_at
     -- An event's id has its time in milliseconds; the ids are what the entries are partitioned and indexed by.
     AND e.event_id >= ledger.uuid7_floor(edge.from_at - interval '1 second')
     AND e.event_id < ledger.uuid7_floor(edge.to_at + interval '1 second')
    WHERE e.user_id = %(user_id)s AND edge.from_at < edge.to_at
)
SELECT (coalesce(sum(amount), 0) * 1000000000000)::numeric(60, 0)::text FROM parts
