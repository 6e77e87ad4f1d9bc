-- Users of these zones above their hourly limit in [start, end), in 1e-12 USD, and whether an alert has told it: one of
-- this hour, or of an earlier one of the last week whose end was not told before this hour (a spike is told once).
WITH newest AS (
    SELECT DISTINCT ON (b.user_id) b.user_id, b.deleted, b.time_zone, b.hourly_spike_limit
    FROM ledger.budgets AS b
    ORDER BY b.user_id, b.version DESC
), limits AS (
    SELECT n.user_id, n.time_zone, n.hourly_spike_limit FROM newest AS n WHERE NOT n.deleted
), spent AS (
    SELECT u.user_id, sum(u.amount) AS amount
    FROM ledger.usage_between(%(start)s, %(end)s) AS u
    GROUP BY u.user_id
), spikes AS (
    SELECT s.user_id, s.amount, coalesce(l.hourly_spike_limit, %(default_limit)s) AS "limit"
    FROM spent AS s
    LEFT JOIN limits AS l USING (user_id)
    WHERE coalesce(l.time_zone, 'UTC') = ANY(%(zones)s)
      AND s.amount > coalesce(l.hourly_spike_limit, %(default_limit)s)
)
SELECT s.user_id, trunc(s.amount * 1000000000000)::text, trunc(s."limit" * 1000000000000)::text,
       EXISTS (
           SELECT FROM ledger.alerts AS a
           WHERE a.user_id = s.user_id AND a.kind = 'HOURLY_SPIKE' AND a.state = 'ALARM' AND a.scope = 'total'
             AND a.threshold_percent IS NULL
             AND a.period_start <= %(start)s AND a.period_start > %(start)s - interval '7 days'
             AND NOT EXISTS (
                 SELECT FROM ledger.alerts AS o
                 WHERE o.user_id = s.user_id AND o.kind = 'HOURLY_SPIKE' AND o.state = 'OK' AND o.scope = 'total'
                   AND o.threshold_percent IS NULL
                   AND o.period_start >= a.period_start AND o.period_start < %(start)s
             )
       )
FROM spikes AS s
ORDER BY s.amount DESC, s.user_id
