-- Deliveries, the newest first, as they may be shown.
SELECT delivery.alert_id, delivery.channel, route.target_shown, delivery.route_id, delivery.state, delivery.attempts,
       delivery.next_attempt_at, delivery.last_error, delivery.created_at, delivery.delivered_at, delivery.ended_at,
       delivery.digest_id, alert.user_id, alert.kind, alert.severity
FROM ledger.alert_deliveries AS delivery
JOIN ledger.alerts AS alert USING (alert_id)
LEFT JOIN ledger.alert_routes AS route USING (route_id)
WHERE (%(state)s::text IS NULL OR delivery.state = %(state)s)
  AND (%(route_id)s::uuid IS NULL OR delivery.route_id = %(route_id)s)
  AND (%(alert_id)s::uuid IS NULL OR delivery.alert_id = %(alert_id)s)
ORDER BY delivery.created_at DESC, delivery.alert_id
LIMIT %(limit)s
