-- Sums by number of an interval, service and operation of one user, from the roll-ups alone: pieces of whole UTC days and
-- of whole UTC hours (numbers since 1970). In 1e-9 units and 1e-12 USD.
SELECT number, service, operation, sum(events)::bigint, sum(unpriced)::bigint,
       trunc(sum(quantity) * 1000000000), trunc(sum(amount) * 1000000000000), trunc(max(max_amount) * 1000000000000)
FROM (
    SELECT p.number, t.service, t.operation, t.events, t.unpriced, t.quantity, t.amount, t.max_amount
    FROM unnest(%(day_firsts)s::integer[], %(day_ends)s::integer[], %(day_numbers)s::integer[])
        AS p (first_day, end_day, number)
    JOIN ledger.daily_totals AS t
        ON t.user_id = %(user_id)s
        AND t.day >= date '1970-01-01' + p.first_day
        AND t.day < date '1970-01-01' + p.end_day
    UNION ALL
    SELECT p.number, t.service, t.operation, t.events, t.unpriced, t.quantity, t.amount, t.max_amount
    FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[], %(hour_numbers)s::integer[])
        AS p (first_hour, end_hour, number)
    JOIN ledger.hourly_totals AS t
        ON t.user_id = %(user_id)s
        AND t.hour >= to_timestamp(p.first_hour * 3600)
        AND t.hour < to_timestamp(p.end_hour * 3600)
) AS parts
GROUP BY number, service, operation
