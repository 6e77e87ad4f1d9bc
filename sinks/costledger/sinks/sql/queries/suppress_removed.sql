-- An alert that came while its route was removed: neither saw the other, and a removed route is never claimed.
UPDATE ledger.alert_deliveries AS delivery
SET state = 'suppressed', ended_at = %(now)s, last_error = 'the route was removed'
FROM ledger.alert_routes AS route
WHERE route.route_id = delivery.route_id AND delivery.state = 'pending' AND route.removed_at IS NOT NULL
RETURNING delivery.channel
