-- The same sums of parts of hours, from the entries: for zones whose days begin within an hour of UTC. The ids have their
-- event's time in milliseconds, so that each rest is one range of the primary key. What takes an event back counts
-- against it, and has no part in the largest amount.
SELECT p.number, e.service, e.operation, sum(e.events * p.weight)::bigint, sum(e.unpriced * p.weight)::bigint,
       trunc(sum(e.quantity * p.weight) * 1000000000), trunc(sum(e.amount * p.weight) * 1000000000000),
       trunc(max(e.max_amount) * 1000000000000)
FROM unnest(%(firsts)s::timestamptz[], %(ends)s::timestamptz[], %(first_ids)s::uuid[], %(end_ids)s::uuid[],
            %(numbers)s::integer[], %(weights)s::integer[], %(users)s::text[])
    AS p (first_at, end_at, first_id, end_id, number, weight, user_id)
CROSS JOIN LATERAL (
    SELECT service, operation, sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) AS events,
           coalesce(sum(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END) FILTER (WHERE amount IS NULL), 0)
               AS unpriced,
           sum(quantity) AS quantity, coalesce(sum(amount), 0) AS amount,
           max(amount) FILTER (WHERE reverses_event_id IS NULL) AS max_amount
    FROM ledger.entries
    WHERE event_id >= p.first_id AND event_id < p.end_id
      AND occurred_at >= p.first_at AND occurred_at < p.end_at
      AND entries.user_id = p.user_id
    GROUP BY service, operation
) AS e
GROUP BY p.number, e.service, e.operation
