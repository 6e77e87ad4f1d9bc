-- The next entries of a window whose price is the price book's matter, by event id, each with what takes it back.
-- The bounds of event_id leave the months outside the window unread: the time in an id is within a second of occurred_at.
SELECT e.kafka_partition, e.kafka_offset, e.event_id::text, e.user_id, e.service, e.operation, e.category, e.quantity, e.unit,
       e.unit_price, e.price_version, e.amount, e.currency, (extract(epoch FROM e.occurred_at) * 1000000)::bigint,
       e.source, e.reverses_event_id::text, e.metadata,
       ARRAY(SELECT r.event_id::text FROM ledger.entries AS r WHERE r.reverses_event_id = e.event_id)
FROM ledger.entries AS e
WHERE e.event_id > coalesce(%(after)s::uuid, ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute'))
  AND e.event_id < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND e.occurred_at >= %(from)s
  AND e.occurred_at < %(to)s
  AND e.reverses_event_id IS NULL
  AND (e.amount IS NULL OR e.price_version IS NOT NULL)
  AND (%(user_id)s::text IS NULL OR e.user_id = %(user_id)s)
  AND (%(service)s::text IS NULL OR e.service = %(service)s)
ORDER BY e.event_id
LIMIT %(limit)s
