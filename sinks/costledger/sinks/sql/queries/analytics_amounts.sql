-- Amounts by number of a day of one user, from the roll-ups alone, in 1e-12 USD: pieces as in analytics_totals.
SELECT number, trunc(sum(amount) * 1000000000000)
FROM (
    SELECT p.number, t.amount
    FROM unnest(%(day_firsts)s::integer[], %(day_ends)s::integer[], %(day_numbers)s::integer[])
        AS p (first_day, end_day, number)
    JOIN ledger.daily_totals AS t
        ON t.user_id = %(user_id)s
        AND t.day >= date '1970-01-01' + p.first_day
        AND t.day < date '1970-01-01' + p.end_day
    UNION ALL
    SELECT p.number, t.amount
    FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[], %(hour_numbers)s::integer[])
        AS p (first_hour, end_hour, number)
    JOIN ledger.hourly_totals AS t
        ON t.user_id = %(user_id)s
        AND t.hour >= to_timestamp(p.first_hour * 3600)
        AND t.hour < to_timestamp(p.end_hour * 3600)
) AS parts
GROUP BY number
