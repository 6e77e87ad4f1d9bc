-- A pending delivery that nobody is sending now, for one process for a while.
UPDATE ledger.report_deliveries AS d
SET claimed_until = now() + make_interval(secs => %(lease_seconds)s), attempts = d.attempts + 1
FROM ledger.reports AS r
WHERE d.kind = %(kind)s AND d.period_start = %(period_start)s AND d.target_sha256 = %(target_sha256)s
  AND d.state = 'pending' AND (d.claimed_until IS NULL OR d.claimed_until <= now())
  AND r.kind = d.kind AND r.period_start = d.period_start
RETURNING r.report_date, r.time_zone, r.period_start, r.period_end, d.attempts, now() - d.created_at, now()
