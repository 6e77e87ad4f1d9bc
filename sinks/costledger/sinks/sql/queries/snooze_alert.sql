UPDATE ledger.alerts
SET snoozed_until = %(snoozed_until)s
WHERE alert_id = %(alert_id)s
RETURNING alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent, actual, "limit",
          currency, budget_version, occurred_at, raised_at, late, message, acknowledged_at, acknowledged_by, snoozed_until
