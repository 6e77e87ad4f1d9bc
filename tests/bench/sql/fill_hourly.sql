-- The hourly totals of some days' entries, in the order in which a sink would have made them.
INSERT INTO ledger.hourly_totals (user_id, hour, service, operation, events, unpriced, quantity, amount, max_amount)
SELECT user_id, date_trunc('hour', occurred_at, 'UTC') AS hour, service, operation, count(*),
       count(*) FILTER (WHERE amount IS NULL), sum(quantity), coalesce(sum(amount), 0), max(amount)
FROM ledger.entries
WHERE event_id >= ledger.uuid7_floor(%(first)s::date::timestamp AT TIME ZONE 'UTC')
  AND event_id < ledger.uuid7_floor(%(end)s::date::timestamp AT TIME ZONE 'UTC')
GROUP BY 1, 2, 3, 4
ORDER BY 2, 1, 3, 4
