-- Sums by number of an interval, service and operation of one user, from the roll-ups alone: pieces of whole UTC days and
-- of whole UTC hours (numbers since 1970), with weights of 1 or -1. In 1e-9 units and 1e-12 USD. Each piece is summed by
-- itself: so it is one range of the primary key, whatever the planner believes of the others.
SELECT number, service, operation, sum(events * weight)::bigint, sum(unpriced * weight)::bigint,
       trunc(sum(quantity * weight) * 1000000000), trunc(sum(amount * weight) * 1000000000000),
       trunc(max(max_amount) * 1000000000000)
FROM (
    SELECT p.number, p.weight, t.*
    FROM unnest(%(day_firsts)s::integer[], %(day_ends)s::integer[], %(day_numbers)s::integer[],
                %(day_weights)s::integer[]) AS p (first_day, end_day, number, weight)
    CROSS JOIN LATERAL (
        SELECT service, operation, sum(events) AS events, sum(unpriced) AS unpriced, sum(quantity) AS quantity,
               sum(amount) AS amount, max(max_amount) AS max_amount
        FROM ledger.daily_totals
        WHERE user_id = %(user_id)s
          AND day >= date '1970-01-01' + p.first_day
          AND day < date '1970-01-01' + p.end_day
        GROUP BY service, operation
    ) AS t
    UNION ALL
    SELECT p.number, p.weight, t.*
    FROM unnest(%(hour_firsts)s::bigint[], %(hour_ends)s::bigint[], %(hour_numbers)s::integer[],
                %(hour_weights)s::integer[]) AS p (first_hour, end_hour, number, weight)
    CROSS JOIN LATERAL (
        SELECT service, operation, sum(events) AS events, sum(unpriced) AS unpriced, sum(quantity) AS quantity,
               sum(amount) AS amount, max(max_amount) AS max_amount
        FROM ledger.hourly_totals
        WHERE user_id = %(user_id)s
          AND hour >= to_timestamp(p.first_hour * 3600)
          AND hour < to_timestamp(p.end_hour * 3600)
        GROUP BY service, operation
    ) AS t
) AS parts
GROUP BY number, service, operation
