-- What all users have spent in a period, in 1e-12 USD.
SELECT trunc(coalesce(sum(u.amount), 0) * 1000000000000)::text
FROM ledger.usage_between(%(start)s, %(end)s) AS u
