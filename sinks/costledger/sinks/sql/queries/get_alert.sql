SELECT alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent, actual, "limit",
       currency, budget_version, occurred_at, raised_at, late, message, acknowledged_at, acknowledged_by, snoozed_until
FROM ledger.alerts
WHERE alert_id = %(alert_id)s
