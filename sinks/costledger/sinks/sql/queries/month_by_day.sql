-- What a user has spent on each local day of [start, end), in USD: hours are what the roll-ups have. Where a zone's day
-- does not begin on a full hour of UTC, an hour counts in the day in which it begins.
SELECT (t.hour AT TIME ZONE %(time_zone)s)::date AS day, sum(t.amount) AS amount
FROM ledger.hourly_totals AS t
WHERE t.user_id = %(user_id)s AND t.hour >= %(start)s AND t.hour < %(end)s
GROUP BY day
ORDER BY day
