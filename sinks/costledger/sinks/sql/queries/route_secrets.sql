-- What is needed to send to a route.
SELECT channel, target, target_shown, secret, user_id
FROM ledger.alert_routes
WHERE route_id = %(route_id)s AND removed_at IS NULL
  AND (%(user_id)s::text IS NULL OR (owner = 'user' AND user_id = %(user_id)s))
