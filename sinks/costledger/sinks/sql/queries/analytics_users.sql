-- A page of the users that the ledger knows, in the order of their ids: with tier, zone, and the budget in force. Users
-- with events alone are found by jumping from one to the next in the primary key, not by reading all of it.
WITH RECURSIVE known AS (
    SELECT least((SELECT min(user_id) FROM ledger.users WHERE user_id > %(after)s),
                 (SELECT min(user_id) FROM ledger.daily_totals WHERE user_id > %(after)s)) AS user_id
    UNION ALL
    SELECT least((SELECT min(u.user_id) FROM ledger.users AS u WHERE u.user_id > known.user_id),
                 (SELECT min(t.user_id) FROM ledger.daily_totals AS t WHERE t.user_id > known.user_id))
    FROM known
    WHERE known.user_id IS NOT NULL
), page AS MATERIALIZED (
    SELECT user_id FROM known WHERE user_id IS NOT NULL LIMIT %(limit)s
)
SELECT page.user_id, coalesce(u.tier, 'default'), coalesce(u.time_zone, 'UTC'),
       CASE WHEN NOT b.deleted THEN b.monthly_budget END, coalesce(CASE WHEN NOT b.deleted THEN b.version END, 0)
FROM page
LEFT JOIN ledger.users AS u USING (user_id)
LEFT JOIN LATERAL (
    SELECT monthly_budget, deleted, version
    FROM ledger.budgets
    WHERE budgets.user_id = page.user_id
    ORDER BY version DESC
    LIMIT 1
) AS b ON true
ORDER BY page.user_id
