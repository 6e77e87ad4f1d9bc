-- Periods since a time whose report is made and handed over.
SELECT r.kind, r.period_start, r.report_date
FROM ledger.reports AS r
WHERE r.period_start >= %(since)s AND r.handed_over_at IS NOT NULL
