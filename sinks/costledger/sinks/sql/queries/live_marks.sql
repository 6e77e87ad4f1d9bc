-- What changes when a user's page is no longer what it shows: zone, budget, alerts, and for the users in `settling` the
-- costs of the roll-ups since the month before. Snoozes as a sum: the last word counts, and may be an earlier time.
SELECT asked.user_id,
       coalesce(u.time_zone, 'UTC'),
       coalesce((SELECT max(b.version) FROM ledger.budgets AS b WHERE b.user_id = asked.user_id), 0),
       (SELECT concat_ws('/', count(*), max(a.recorded_at), max(a.acknowledged_at),
                          sum(extract(epoch FROM a.snoozed_until)))
        FROM ledger.alerts AS a
        WHERE a.user_id = asked.user_id AND a.raised_at > now() - interval '62 days'),
       CASE WHEN asked.user_id = ANY (%(settling)s::text[]) THEN
           (SELECT concat_ws('/', sum(t.events), sum(t.amount), sum(t.unpriced))
            FROM ledger.daily_totals AS t
            WHERE t.user_id = asked.user_id AND t.day >= current_date - 62)
       END
FROM unnest(%(users)s::text[]) AS asked (user_id)
LEFT JOIN ledger.users AS u USING (user_id)
