-- Sums over all users, and the user with the largest amount, in 1e-12 USD. A user is active with at least one event.
WITH per_user AS (
    SELECT u.user_id, sum(u.events) AS events, sum(u.unpriced) AS unpriced, sum(u.amount) AS amount
    FROM ledger.usage_between(%(start)s, %(end)s) AS u
    WHERE u.service <> %(left_out)s
    GROUP BY u.user_id
), largest AS (
    SELECT p.user_id, p.amount
    FROM per_user AS p
    WHERE p.events > 0
    ORDER BY p.amount DESC, p.user_id
    LIMIT 1
)
SELECT count(*) FILTER (WHERE p.events > 0), coalesce(sum(p.events), 0)::bigint, coalesce(sum(p.unpriced), 0)::bigint,
       trunc(coalesce(sum(p.amount), 0) * 1000000000000)::text,
       (SELECT trunc(l.amount * 1000000000000)::text FROM largest AS l), (SELECT l.user_id FROM largest AS l)
FROM per_user AS p
