-- What each service cost, in 1e-12 USD, with the number of its users, the largest amount first.
WITH per_user AS (
    SELECT u.service, u.user_id, sum(u.events) AS events, sum(u.unpriced) AS unpriced, sum(u.amount) AS amount
    FROM ledger.usage_between(%(start)s, %(end)s) AS u
    WHERE u.service <> %(left_out)s
    GROUP BY u.service, u.user_id
)
SELECT p.service, NULL, count(*) FILTER (WHERE p.events > 0), sum(p.events)::bigint, sum(p.unpriced)::bigint,
       trunc(sum(p.amount) * 1000000000000)::text
FROM per_user AS p
GROUP BY p.service
ORDER BY sum(p.amount) DESC, p.service
