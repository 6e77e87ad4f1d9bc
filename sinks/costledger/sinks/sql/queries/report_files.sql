-- Cost per file of each user that names files: what the user spent in the period (from the totals, so counted once
-- whatever the entries are joined with) over the number of distinct files (of the entries, each file once; one whose
-- events were all taken back is none). The largest quotient first; beside it, sums over all users.
WITH named AS (
    SELECT e.user_id, e.metadata ->> %(key)s AS file
    FROM ledger.entries AS e
    WHERE e.event_id >= ledger.uuid7_floor(%(start)s::timestamptz - interval '1 second')
      AND e.event_id < ledger.uuid7_floor(%(end)s::timestamptz + interval '1 second')
      AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s
      AND e.service <> %(left_out)s
      AND e.metadata ->> %(key)s <> ''
    GROUP BY 1, 2
    HAVING sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END) > 0
), files AS (
    SELECT n.user_id, count(*) AS files FROM named AS n GROUP BY n.user_id
), spent AS (
    SELECT u.user_id, sum(u.amount) AS amount, sum(u.events) AS events
    FROM ledger.usage_between(%(start)s, %(end)s) AS u
    WHERE u.service <> %(left_out)s
    GROUP BY u.user_id
), users AS (
    SELECT s.user_id, s.amount, s.events, f.files, coalesce(s.amount > %(limit)s * f.files, false) AS above
    FROM spent AS s
    LEFT JOIN files AS f USING (user_id)
), sums AS (
    SELECT count(*) FILTER (WHERE u.files IS NOT NULL) AS with_files, coalesce(sum(u.files), 0)::bigint AS files,
           count(*) FILTER (WHERE u.above) AS above,
           count(*) FILTER (WHERE u.files IS NULL AND u.events > 0) AS without_files,
           trunc(coalesce(sum(u.amount) FILTER (WHERE u.files IS NULL), 0) * 1000000000000)::text AS amount_without
    FROM users AS u
), above AS (
    SELECT u.user_id, trunc(u.amount * 1000000000000)::text AS amount, u.files, u.amount / u.files AS per_file
    FROM users AS u
    WHERE u.above
    ORDER BY u.amount / u.files DESC, u.user_id
    LIMIT %(users)s
)
SELECT s.with_files, s.files, s.above, s.without_files, s.amount_without, a.user_id, a.amount, a.files
FROM sums AS s
LEFT JOIN above AS a ON true
ORDER BY a.per_file DESC, a.user_id
