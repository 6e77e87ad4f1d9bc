-- Entries of a period as they are, in the order of their ids, which is that of time: for columns with types.
SELECT event_id::text, occurred_at, user_id, service, operation, category, quantity, unit, unit_price, price_version,
       amount, currency, source, reverses_event_id::text, received_at, recorded_at, metadata::text
FROM ledger.entries
WHERE event_id >= ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute')
  AND event_id < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND occurred_at >= %(from)s AND occurred_at < %(to)s
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
ORDER BY event_id
