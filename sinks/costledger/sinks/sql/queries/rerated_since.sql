-- How many entries of corrections in a window were recorded since some moment.
SELECT count(*)
FROM ledger.entries AS e
WHERE e.recorded_at >= %(since)s
  AND e.event_id >= ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute')
  AND e.event_id < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND e.occurred_at >= %(from)s
  AND e.occurred_at < %(to)s
  AND e.metadata ? %(mark)s
