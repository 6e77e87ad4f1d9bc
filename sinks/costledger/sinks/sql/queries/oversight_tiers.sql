-- What each tier costs from a day (included) to a day (not included).
SELECT coalesce(u.tier, 'default') AS tier, count(DISTINCT t.user_id) AS users, sum(t.events)::bigint AS events,
       sum(t.amount) AS amount, sum(t.unpriced)::bigint AS unpriced
FROM ledger.daily_totals AS t
LEFT JOIN ledger.users AS u USING (user_id)
WHERE t.day >= %(since)s AND t.day < %(until)s
GROUP BY 1
ORDER BY amount DESC, tier
