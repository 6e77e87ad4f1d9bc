-- Routes for which something is due, and nobody is at it: after a lost job.
SELECT DISTINCT route.route_id
FROM ledger.alert_routes AS route
JOIN ledger.alert_deliveries AS delivery ON delivery.route_id = route.route_id
WHERE delivery.state = 'pending' AND delivery.next_attempt_at <= %(now)s
  AND route.enabled AND route.removed_at IS NULL
  AND (route.retry_at IS NULL OR route.retry_at <= %(now)s)
  AND (route.claimed_until IS NULL OR route.claimed_until <= %(now)s)
LIMIT %(limit)s
