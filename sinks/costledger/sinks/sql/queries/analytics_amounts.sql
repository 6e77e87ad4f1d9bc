-- Amounts of one user in 1e-12 USD, from the roll-ups alone: by UTC day (number since 1970) from a first day up to an end,
-- and, in rows that say so, of ranges of whole UTC hours by their number from 1.
SELECT false AS of_hours, day - date '1970-01-01', trunc(sum(amount) * 1000000000000)
FROM ledger.daily_totals
WHERE user_id = %(user_id)s
  AND day >= date '1970-01-01' + %(first_day)s::integer
  AND day < date '1970-01-01' + %(end_day)s::integer
GROUP BY day
UNION ALL
SELECT true, p.number, trunc(t.amount * 1000000000000)
FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[]) WITH ORDINALITY AS p (first_hour, end_hour, number)
CROSS JOIN LATERAL (
    SELECT sum(amount) AS amount
    FROM ledger.hourly_totals
    WHERE user_id = %(user_id)s AND hour >= to_timestamp(p.first_hour * 3600) AND hour < to_timestamp(p.end_hour * 3600)
) AS t
WHERE t.amount IS NOT NULL
