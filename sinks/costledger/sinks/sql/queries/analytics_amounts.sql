-- Amounts by number of an interval of one user, from the roll-ups alone, in 1e-12 USD: pieces as in analytics_totals.
SELECT number, trunc(sum(amount * weight) * 1000000000000)
FROM (
    SELECT p.number, p.weight, t.amount
    FROM unnest(%(day_firsts)s::integer[], %(day_ends)s::integer[], %(day_numbers)s::integer[],
                %(day_weights)s::integer[]) AS p (first_day, end_day, number, weight)
    CROSS JOIN LATERAL (
        SELECT sum(amount) AS amount
        FROM ledger.daily_totals
        WHERE user_id = %(user_id)s
          AND day >= date '1970-01-01' + p.first_day
          AND day < date '1970-01-01' + p.end_day
    ) AS t
    UNION ALL
    SELECT p.number, p.weight, t.amount
    FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[], %(hour_numbers)s::integer[],
                %(hour_weights)s::integer[]) AS p (first_hour, end_hour, number, weight)
    CROSS JOIN LATERAL (
        SELECT sum(amount) AS amount
        FROM ledger.hourly_totals
        WHERE user_id = %(user_id)s
          AND hour >= to_timestamp(p.first_hour * 3600)
          AND hour < to_timestamp(p.end_hour * 3600)
    ) AS t
) AS parts
GROUP BY number
HAVING sum(amount) IS NOT NULL
