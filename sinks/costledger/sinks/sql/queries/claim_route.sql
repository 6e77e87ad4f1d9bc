-- One worker delivers to a route; a claim that nobody has renewed is over at its time.
UPDATE ledger.alert_routes
SET claimed_by = %(token)s, claimed_until = %(now)s + make_interval(secs => %(lease_seconds)s)
WHERE route_id = %(route_id)s AND enabled AND removed_at IS NULL
  AND (claimed_until IS NULL OR claimed_until <= %(now)s)
RETURNING route_id, channel, target, target_shown, secret
