-- Users, services, operations and days whose total is not the sum of their hours, or whose maximum is not theirs.
WITH told AS (
    SELECT user_id, service, operation, (hour AT TIME ZONE 'UTC')::date AS day,
           sum(events) AS events, sum(unpriced) AS unpriced, sum(quantity) AS quantity, sum(amount) AS amount,
           max(max_amount) AS max_amount
    FROM ledger.hourly_totals
    GROUP BY 1, 2, 3, 4
)
SELECT user_id, service, operation, day::text,
       coalesce(told.amount, 0), coalesce(kept.amount, 0),
       coalesce(told.events, 0), coalesce(kept.events, 0), told.max_amount, kept.max_amount
FROM told
FULL JOIN ledger.daily_totals AS kept USING (user_id, service, operation, day)
WHERE (told.events, told.unpriced, told.quantity, told.amount, told.max_amount)
      IS DISTINCT FROM (kept.events, kept.unpriced, kept.quantity, kept.amount, kept.max_amount)
