-- One worker delivers to a route; a claim that nobody has renewed is over at its time. Of one user only so many at once.
UPDATE ledger.alert_routes AS route
SET claimed_by = %(token)s, claimed_until = %(now)s + make_interval(secs => %(lease_seconds)s)
WHERE route_id = %(route_id)s AND enabled AND removed_at IS NULL
  AND (claimed_until IS NULL OR claimed_until <= %(now)s)
  AND (owner = 'operator' OR (
      SELECT count(*) FROM ledger.alert_routes AS other
      WHERE other.user_id = route.user_id AND other.removed_at IS NULL AND other.claimed_until > %(now)s
  ) < %(claims_max)s)
RETURNING route_id, channel, target, target_shown, secret, user_id
