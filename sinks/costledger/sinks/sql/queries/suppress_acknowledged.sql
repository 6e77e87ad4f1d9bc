-- Somebody has seen it: no need to tell them.
UPDATE ledger.alert_deliveries AS delivery
SET state = 'suppressed', ended_at = %(now)s, last_error = 'acknowledged before it was sent'
FROM ledger.alerts AS alert
WHERE alert.alert_id = delivery.alert_id AND delivery.state = 'pending' AND alert.acknowledged_at IS NOT NULL
  AND (%(route_id)s::uuid IS NULL OR delivery.route_id = %(route_id)s)
RETURNING delivery.channel
