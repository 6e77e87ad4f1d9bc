-- The same whole hours by the roll-ups.
SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(amount), 0)::text
FROM ledger.hourly_totals
WHERE hour >= %(first_hour)s AND hour < %(end_hour)s AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
