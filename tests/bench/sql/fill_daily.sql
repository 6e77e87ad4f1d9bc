-- The daily totals of some days' hourly ones.
INSERT INTO ledger.daily_totals (user_id, day, service, operation, events, unpriced, quantity, amount, max_amount)
SELECT user_id, (hour AT TIME ZONE 'UTC')::date AS day, service, operation, sum(events), sum(unpriced), sum(quantity),
       sum(amount), max(max_amount)
FROM ledger.hourly_totals
WHERE hour >= %(first)s::date::timestamp AT TIME ZONE 'UTC' AND hour < %(end)s::date::timestamp AT TIME ZONE 'UTC'
GROUP BY 1, 2, 3, 4
ORDER BY 2, 1, 3, 4
