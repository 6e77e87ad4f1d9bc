-- One delivery for each route that wants a new alert: once per target of the user, and once per target of operators. The
-- owner is part of the target's name, or a user's route could take an operator's place, under a key of the user.
INSERT INTO ledger.alert_deliveries (alert_id, channel, target, route_id)
SELECT alert.alert_id, route.channel, route.owner || ':' || route.target_key, route.route_id
FROM ledger.alerts AS alert
JOIN ledger.alert_routes AS route
    ON route.enabled AND route.removed_at IS NULL
    AND (route.owner = 'operator' OR route.user_id = alert.user_id)
    AND (route.kinds IS NULL OR alert.kind = ANY (route.kinds))
    AND (route.include_ok OR alert.state <> 'OK')
    AND coalesce(array_position(ARRAY['INFO', 'WARNING', 'CRITICAL'], alert.severity), 3)
        >= array_position(ARRAY['INFO', 'WARNING', 'CRITICAL'], route.severity_min)
WHERE alert.alert_id = %(alert_id)s
ORDER BY route.created_at, route.route_id
ON CONFLICT (alert_id, channel, target) DO NOTHING
RETURNING route_id
