-- Until when a delivery that is still to be done is claimed.
SELECT d.claimed_until
FROM ledger.report_deliveries AS d
WHERE d.kind = %(kind)s AND d.period_start = %(period_start)s AND d.target_sha256 = %(target_sha256)s
  AND d.state = 'pending' AND d.claimed_until > now()
