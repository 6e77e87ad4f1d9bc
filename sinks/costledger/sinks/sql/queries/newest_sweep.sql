SELECT r.content, r.period_start
FROM ledger.reports AS r
WHERE r.kind = 'sweep'
ORDER BY r.period_start DESC
LIMIT 1
