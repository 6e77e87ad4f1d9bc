UPDATE ledger.reports
SET handed_over_at = now()
WHERE kind = %(kind)s AND period_start = %(period_start)s AND handed_over_at IS NULL
