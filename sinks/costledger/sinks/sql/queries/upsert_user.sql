INSERT INTO ledger.users AS u (user_id, tier, time_zone)
VALUES (%(user_id)s, %(tier)s, %(time_zone)s)
ON CONFLICT (user_id) DO UPDATE SET tier = excluded.tier, time_zone = excluded.time_zone, updated_at = now()
