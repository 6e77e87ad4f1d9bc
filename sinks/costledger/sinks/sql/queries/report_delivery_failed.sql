-- No row where this attempt was recorded before, or another one has begun since.
UPDATE ledger.report_deliveries
SET state = %(state)s, claimed_until = NULL, last_error = %(last_error)s
WHERE kind = %(kind)s AND period_start = %(period_start)s AND target_sha256 = %(target_sha256)s
  AND state = 'pending' AND attempts = %(attempts)s AND claimed_until IS NOT NULL
