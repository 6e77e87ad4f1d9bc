-- What the users of each tier (as it is now) have cost from a UTC day (included) to a day (not included), in 1e-12 USD:
-- by service, and with a null service in all, with the users that had an event. From the daily totals of those days.
WITH of_users AS (
    SELECT user_id, service, sum(amount) AS amount, sum(unpriced) AS unpriced
    FROM ledger.daily_totals
    WHERE day >= %(start)s AND day < %(end)s AND service <> ALL (%(without)s::text[])
    GROUP BY user_id, service
)
SELECT coalesce(u.tier, 'default') AS tier, service, count(DISTINCT user_id), trunc(sum(amount) * 1000000000000),
       sum(unpriced)::bigint
FROM of_users
LEFT JOIN ledger.users AS u USING (user_id)
GROUP BY GROUPING SETS ((1), (1, 2))
ORDER BY 1, 2 NULLS FIRST
