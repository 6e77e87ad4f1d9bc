UPDATE ledger.report_deliveries
SET state = 'delivered', delivered_at = now(), claimed_until = NULL, last_error = NULL
WHERE kind = %(kind)s AND period_start = %(period_start)s AND target_sha256 = %(target_sha256)s
