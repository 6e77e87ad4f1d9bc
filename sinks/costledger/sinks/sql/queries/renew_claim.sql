-- Still ours? Then for another while. Says when the route may be tried.
UPDATE ledger.alert_routes
SET claimed_until = %(now)s + make_interval(secs => %(lease_seconds)s)
WHERE route_id = %(route_id)s AND claimed_by = %(token)s AND enabled AND removed_at IS NULL
RETURNING retry_at, failures
