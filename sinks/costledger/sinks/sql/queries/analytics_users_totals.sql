-- What several users have spent, each in an interval of their own that is put together from pieces as in analytics_totals,
-- by the number of the user; in 1e-12 USD.
SELECT number, trunc(sum(amount * weight) * 1000000000000), sum(unpriced * weight)::bigint
FROM (
    SELECT p.number, p.weight, t.amount, t.unpriced
    FROM unnest(%(day_firsts)s::integer[], %(day_ends)s::integer[], %(day_numbers)s::integer[],
                %(day_weights)s::integer[], %(day_users)s::text[]) AS p (first_day, end_day, number, weight, user_id)
    CROSS JOIN LATERAL (
        SELECT sum(amount) AS amount, sum(unpriced) AS unpriced
        FROM ledger.daily_totals AS d
        WHERE d.user_id = p.user_id
          AND d.day >= date '1970-01-01' + p.first_day
          AND d.day < date '1970-01-01' + p.end_day
    ) AS t
    UNION ALL
    SELECT p.number, p.weight, t.amount, t.unpriced
    FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[], %(hour_numbers)s::integer[],
                %(hour_weights)s::integer[], %(hour_users)s::text[]) AS p (first_hour, end_hour, number, weight, user_id)
    CROSS JOIN LATERAL (
        SELECT sum(amount) AS amount, sum(unpriced) AS unpriced
        FROM ledger.hourly_totals AS h
        WHERE h.user_id = p.user_id
          AND h.hour >= to_timestamp(p.first_hour * 3600)
          AND h.hour < to_timestamp(p.end_hour * 3600)
    ) AS t
) AS parts
GROUP BY number
HAVING sum(amount) IS NOT NULL
