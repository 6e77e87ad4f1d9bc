-- A removed route keeps its place in the history of deliveries, and loses its secrets. What waits is not sent any more.
WITH removed AS (
    UPDATE ledger.alert_routes
    SET removed_at = now(), enabled = false, target = '', secret = NULL
    WHERE route_id = %(route_id)s AND removed_at IS NULL
      AND (%(user_id)s::text IS NULL OR (owner = 'user' AND user_id = %(user_id)s))
    RETURNING route_id
), suppressed AS (
    UPDATE ledger.alert_deliveries AS delivery
    SET state = 'suppressed', ended_at = now(), last_error = 'the route was removed'
    FROM removed
    WHERE delivery.route_id = removed.route_id AND delivery.state = 'pending'
)
SELECT route_id FROM removed
