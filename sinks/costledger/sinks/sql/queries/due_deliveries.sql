-- What of a route is due, the longest waiting first, with its alert; or all that is left of one digest.
SELECT delivery.attempts, delivery.gathered, delivery.digest_id, delivery.ready_at,
       alert.alert_id, alert.kind, alert.state, alert.severity, alert.user_id, alert.scope, alert.period_start,
       alert.period_end, alert.threshold_percent, alert.actual, alert."limit", alert.currency, alert.budget_version,
       alert.occurred_at, alert.raised_at, alert.late, alert.message
FROM ledger.alert_deliveries AS delivery
JOIN ledger.alerts AS alert USING (alert_id)
WHERE delivery.route_id = %(route_id)s AND delivery.state = 'pending'
  AND CASE WHEN %(digest_id)s::uuid IS NULL THEN delivery.next_attempt_at <= %(now)s
           ELSE delivery.digest_id = %(digest_id)s END
ORDER BY delivery.next_attempt_at, alert.raised_at, alert.alert_id
LIMIT %(limit)s
FOR UPDATE OF delivery
