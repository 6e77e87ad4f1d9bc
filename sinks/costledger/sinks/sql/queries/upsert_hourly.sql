-- Adds sums to the hourly totals. The arrays are sorted by key: all writers lock rows in the same order.
INSERT INTO ledger.hourly_totals AS t (user_id, hour, service, operation, events, unpriced, quantity, amount,
    max_amount)
SELECT user_id, to_timestamp(period * 3600), service, operation, events, unpriced,
       nanounits * 0.000000001, picodollars * 0.000000000001, max_picodollars * 0.000000000001
FROM unnest(%(users)s::text[], %(periods)s::bigint[], %(services)s::text[], %(operations)s::text[],
            %(events)s::bigint[], %(unpriced)s::bigint[], %(quantities)s::numeric[], %(amounts)s::numeric[],
            %(maxima)s::numeric[])
    AS batch (user_id, period, service, operation, events, unpriced, nanounits, picodollars, max_picodollars)
ON CONFLICT (user_id, hour, service, operation) DO UPDATE
SET events = t.events + excluded.events,
    unpriced = t.unpriced + excluded.unpriced,
    quantity = t.quantity + excluded.quantity,
    amount = t.amount + excluded.amount,
    -- The larger one; of a null and a number, the number.
    max_amount = greatest(t.max_amount, excluded.max_amount)
