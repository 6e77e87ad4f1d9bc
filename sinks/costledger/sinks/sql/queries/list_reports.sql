-- The newest reports for people; sweeps are not among them.
SELECT r.kind, r.report_date, r.time_zone, r.period_start, r.period_end, r.revision, r.complete, r.updated_at,
       r.content -> 'totals' ->> 'total'
FROM ledger.reports AS r
WHERE r.kind IN ('daily', 'weekly') AND (%(kind)s::text IS NULL OR r.kind = %(kind)s)
ORDER BY r.report_date DESC, r.kind, r.period_start DESC
LIMIT %(limit)s
