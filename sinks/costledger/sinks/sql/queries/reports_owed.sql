-- Reports that Redis does not have yet, the oldest first.
SELECT r.content, r.revision, r.updated_at
FROM ledger.reports AS r
WHERE r.cached_at IS NULL AND r.kind IN ('daily', 'weekly')
ORDER BY r.updated_at
LIMIT %(limit)s
