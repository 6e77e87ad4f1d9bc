-- What an export of entries will have: rows, rows without a price, USD; and of the whole hours in it, events and USD.
-- The time in an event's id is within a second of occurred_at: bounds of ids leave the other months unread.
SELECT count(*)::bigint AS rows, (count(*) FILTER (WHERE amount IS NULL))::bigint AS unpriced,
       coalesce(sum(amount), 0)::text AS amount,
       coalesce(sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END)
                FILTER (WHERE occurred_at >= %(first_hour)s AND occurred_at < %(end_hour)s), 0)::bigint AS events_of_hours,
       coalesce(sum(amount) FILTER (WHERE occurred_at >= %(first_hour)s AND occurred_at < %(end_hour)s), 0)::text
           AS amount_of_hours
FROM ledger.entries
WHERE event_id >= ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute')
  AND event_id < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND occurred_at >= %(from)s AND occurred_at < %(to)s
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
