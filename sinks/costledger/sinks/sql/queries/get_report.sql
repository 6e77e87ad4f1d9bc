SELECT r.content, r.revision, r.updated_at
FROM ledger.reports AS r
WHERE r.kind = %(kind)s AND r.period_start = %(period_start)s
