-- Tier and zone of a user, and whether anything is known of the user: a budget (or one deleted), or any event.
SELECT coalesce(u.tier, 'default'), coalesce(u.time_zone, 'UTC'),
       u.user_id IS NOT NULL OR EXISTS (SELECT FROM ledger.daily_totals AS t WHERE t.user_id = asked.user_id)
FROM (SELECT %(user_id)s::text AS user_id) AS asked
LEFT JOIN ledger.users AS u USING (user_id)
