-- What is snoozed waits until the snooze ends; what no longer is, is due at once.
UPDATE ledger.alert_deliveries AS delivery
SET next_attempt_at = coalesce(greatest(alert.snoozed_until, %(now)s), %(now)s),
    ready_at = coalesce(greatest(alert.snoozed_until, %(now)s), %(now)s),
    gathered = false, digest_id = NULL
FROM ledger.alerts AS alert
WHERE alert.alert_id = delivery.alert_id AND delivery.state = 'pending'
  AND (%(route_id)s::uuid IS NULL OR delivery.route_id = %(route_id)s)
  AND (
      (alert.snoozed_until > %(now)s AND delivery.next_attempt_at < alert.snoozed_until)
      OR (delivery.ready_at > %(now)s AND (alert.snoozed_until IS NULL OR alert.snoozed_until <= %(now)s))
  )
