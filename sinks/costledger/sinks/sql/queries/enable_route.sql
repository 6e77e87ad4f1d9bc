-- A route is used again, at once.
UPDATE ledger.alert_routes
SET enabled = true, disabled_reason = NULL, failures = 0, retry_at = NULL
WHERE route_id = %(route_id)s AND removed_at IS NULL
  AND (%(user_id)s::text IS NULL OR (owner = 'user' AND user_id = %(user_id)s))
RETURNING route_id
