-- One page of everybody's alerts, newest first, that come after a place in that order.
SELECT alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent, actual, "limit",
       currency, budget_version, occurred_at, raised_at, late, message, acknowledged_at, acknowledged_by, snoozed_until
FROM ledger.alerts
WHERE (raised_at, alert_id) < (%(after_raised_at)s::timestamptz, %(after_alert_id)s::uuid)
  AND raised_at >= %(since)s::timestamptz
  AND raised_at < %(until)s::timestamptz
  AND (%(kind)s::text IS NULL OR kind = %(kind)s)
  AND (%(state)s::text IS NULL OR state = %(state)s)
  AND (%(severity)s::text IS NULL OR severity = %(severity)s)
  AND (%(acknowledged)s::boolean IS NULL OR (acknowledged_at IS NOT NULL) = %(acknowledged)s)
ORDER BY raised_at DESC, alert_id DESC
LIMIT %(limit)s
