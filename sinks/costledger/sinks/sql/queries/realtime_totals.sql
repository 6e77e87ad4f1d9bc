-- What the real-time totals should hold, by quarter of an hour: every zone's hours and days are made of those.
-- Events that were older than the horizon when they arrived are history, and not in them.
SELECT e.user_id, coalesce(u.time_zone, 'UTC'), e.service, e.operation,
       extract(epoch FROM date_bin('15 minutes', e.occurred_at, timestamptz '2000-01-01 00:00:00+00'))::bigint,
       sum(e.amount)
FROM ledger.entries AS e
LEFT JOIN ledger.users AS u USING (user_id)
WHERE e.amount IS NOT NULL
  AND e.occurred_at >= e.received_at - make_interval(days => %(horizon_days)s)
  AND e.occurred_at >= %(since)s
  AND e.event_id >= ledger.uuid7_floor(%(since)s::timestamptz - interval '1 minute')
GROUP BY 1, 2, 3, 4, 5
