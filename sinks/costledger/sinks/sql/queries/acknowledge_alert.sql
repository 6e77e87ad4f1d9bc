-- The first acknowledgement stays: a second one finds it, also when both come at once.
UPDATE ledger.alerts
SET acknowledged_by = CASE WHEN acknowledged_at IS NULL THEN %(acknowledged_by)s ELSE acknowledged_by END,
    acknowledged_at = coalesce(acknowledged_at, clock_timestamp())
WHERE alert_id = %(alert_id)s
RETURNING alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent, actual, "limit",
          currency, budget_version, occurred_at, raised_at, late, message, acknowledged_at, acknowledged_by, snoozed_until
