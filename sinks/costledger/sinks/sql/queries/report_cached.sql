UPDATE ledger.reports
SET cached_at = now()
WHERE kind = %(kind)s AND period_start = %(period_start)s AND revision = %(revision)s
