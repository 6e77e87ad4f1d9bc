-- The users with the largest amounts, in 1e-12 USD.
SELECT u.user_id, NULL, 1, sum(u.events)::bigint, sum(u.unpriced)::bigint,
       trunc(sum(u.amount) * 1000000000000)::text
FROM ledger.usage_between(%(start)s, %(end)s) AS u
WHERE u.service <> %(left_out)s
GROUP BY u.user_id
HAVING sum(u.events) > 0 OR sum(u.amount) <> 0
ORDER BY sum(u.amount) DESC, u.user_id
LIMIT %(limit)s
