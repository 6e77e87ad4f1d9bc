-- Users by what they cost since a day, the dearest first, one page of them after (after_amount, after_user).
SELECT spent.user_id, coalesce(u.tier, 'default') AS tier, spent.amount, spent.events, spent.unpriced,
       b.monthly_budget, coalesce(a.open_alerts, 0) AS open_alerts
FROM (
    SELECT t.user_id, sum(t.amount) AS amount, sum(t.events)::bigint AS events, sum(t.unpriced)::bigint AS unpriced
    FROM ledger.daily_totals AS t
    WHERE t.day >= %(since)s AND t.day < %(until)s
      AND (%(prefix)s::text IS NULL OR starts_with(t.user_id, %(prefix)s::text))
    GROUP BY t.user_id
) AS spent
LEFT JOIN ledger.users AS u USING (user_id)
LEFT JOIN LATERAL (
    SELECT CASE WHEN NOT n.deleted THEN n.monthly_budget END AS monthly_budget
    FROM ledger.budgets AS n WHERE n.user_id = spent.user_id ORDER BY n.version DESC LIMIT 1
) AS b ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS open_alerts
    FROM ledger.alerts AS o
    WHERE o.user_id = spent.user_id AND o.state = 'ALARM' AND o.acknowledged_at IS NULL AND o.raised_at >= %(since)s
) AS a ON true
WHERE %(after_amount)s::numeric IS NULL
   OR (spent.amount, spent.user_id) < (%(after_amount)s::numeric, %(after_user)s::text)
ORDER BY spent.amount DESC, spent.user_id DESC
LIMIT %(limit)s
