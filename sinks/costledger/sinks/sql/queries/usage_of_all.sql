-- What all users have used from a day (included) to a day (not included), in 1e-9 units and 1e-12 USD.
SELECT service, operation, sum(events)::bigint, trunc(sum(quantity) * 1000000000), trunc(sum(amount) * 1000000000000),
       sum(unpriced)::bigint
FROM ledger.daily_totals
WHERE day >= %(start)s AND day < %(end)s
GROUP BY service, operation
ORDER BY service, operation
