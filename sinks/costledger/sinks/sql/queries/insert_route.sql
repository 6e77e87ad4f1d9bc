-- A route once: the same owner, channel and target again is refused by doing nothing.
INSERT INTO ledger.alert_routes (owner, user_id, channel, target, target_key, target_shown, secret, kinds, severity_min,
                                 include_ok)
VALUES (%(owner)s, %(user_id)s, %(channel)s, %(target)s, %(target_key)s, %(target_shown)s, %(secret)s, %(kinds)s,
        %(severity_min)s, %(include_ok)s)
ON CONFLICT DO NOTHING
RETURNING route_id
