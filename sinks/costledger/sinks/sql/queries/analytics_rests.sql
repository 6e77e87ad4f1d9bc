-- The same sums of less than an hour each, from the entries: for zones whose days begin within an hour of UTC. The ids
-- have their event's time in milliseconds, so that each rest is one range of the primary key. What takes an event back
-- counts against it, and has no part in the largest amount.
SELECT p.number, e.service, e.operation,
       sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END)::bigint,
       coalesce(sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END) FILTER (WHERE e.amount IS NULL), 0)::bigint,
       trunc(sum(e.quantity) * 1000000000), trunc(coalesce(sum(e.amount), 0) * 1000000000000),
       trunc(max(e.amount) FILTER (WHERE e.reverses_event_id IS NULL) * 1000000000000)
FROM unnest(%(firsts)s::timestamptz[], %(ends)s::timestamptz[], %(numbers)s::integer[]) AS p (first, "end", number)
JOIN ledger.entries AS e
    ON e.occurred_at >= p.first AND e.occurred_at < p."end"
    AND e.event_id >= ledger.uuid7_floor(p.first - interval '1 second')
    AND e.event_id < ledger.uuid7_floor(p."end" + interval '1 second')
WHERE e.user_id = %(user_id)s
GROUP BY p.number, e.service, e.operation
