-- Users, services, operations and days whose total is not the sum of their hours.
WITH told AS (
    SELECT user_id, service, operation, (hour AT TIME ZONE 'UTC')::date AS day,
           sum(events) AS events, sum(unpriced) AS unpriced, sum(quantity) AS quantity, sum(amount) AS amount
    FROM ledger.hourly_totals
    GROUP BY 1, 2, 3, 4
)
SELECT user_id, service, operation, day::text,
       coalesce(told.amount, 0), coalesce(kept.amount, 0),
       coalesce(told.events, 0), coalesce(kept.events, 0)
FROM told
FULL JOIN ledger.daily_totals AS kept USING (user_id, service, operation, day)
WHERE (told.events, told.unpriced, told.quantity, told.amount)
      IS DISTINCT FROM (kept.events, kept.unpriced, kept.quantity, kept.amount)
