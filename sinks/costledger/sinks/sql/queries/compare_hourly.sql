-- Users, services, operations and hours whose total is not the sum of their entries. An entry that takes another one
-- back counts as one event less, and has no part in the largest amount.
WITH told AS (
    SELECT user_id, service, operation, date_trunc('hour', occurred_at, 'UTC') AS hour,
           sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) AS events,
           coalesce(sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) FILTER (WHERE amount IS NULL), 0)
               AS unpriced,
           sum(quantity) AS quantity, coalesce(sum(amount), 0) AS amount,
           max(amount) FILTER (WHERE reverses_event_id IS NULL) AS max_amount
    FROM ledger.entries
    GROUP BY 1, 2, 3, 4
)
SELECT user_id, service, operation, hour::text,
       coalesce(told.amount, 0), coalesce(kept.amount, 0),
       coalesce(told.events, 0), coalesce(kept.events, 0), told.max_amount, kept.max_amount
FROM told
FULL JOIN ledger.hourly_totals AS kept USING (user_id, service, operation, hour)
WHERE (told.events, told.unpriced, told.quantity, told.amount, told.max_amount)
      IS DISTINCT FROM (kept.events, kept.unpriced, kept.quantity, kept.amount, kept.max_amount)
