UPDATE ledger.report_deliveries
SET state = %(state)s, claimed_until = NULL, last_error = %(last_error)s
WHERE kind = %(kind)s AND period_start = %(period_start)s AND target_sha256 = %(target_sha256)s
