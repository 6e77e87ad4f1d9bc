-- Of all users in [start, end): how many were active, and what they spent, in 1e-12 USD.
SELECT count(*) FILTER (WHERE p.events > 0), trunc(coalesce(sum(p.amount), 0) * 1000000000000)::text
FROM (
    SELECT u.user_id, sum(u.events) AS events, sum(u.amount) AS amount
    FROM ledger.usage_between(%(start)s, %(end)s) AS u
    WHERE u.service <> %(left_out)s
    GROUP BY u.user_id
) AS p
