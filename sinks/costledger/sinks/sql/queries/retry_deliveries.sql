-- Given up ones are tried again, as if they were new, where their route is still used.
WITH retried AS (
    UPDATE ledger.alert_deliveries AS delivery
    SET state = 'pending', next_attempt_at = now(), ready_at = now(), ended_at = NULL, gathered = false,
        digest_id = NULL
    FROM ledger.alert_routes AS route
    WHERE route.route_id = delivery.route_id AND route.enabled AND route.removed_at IS NULL AND delivery.state = 'dead'
      AND (%(alert_ids)s::uuid[] IS NULL OR delivery.alert_id = ANY (%(alert_ids)s))
      AND (%(route_id)s::uuid IS NULL OR delivery.route_id = %(route_id)s)
    RETURNING delivery.route_id
), woken AS (
    UPDATE ledger.alert_routes AS route SET retry_at = NULL
    FROM (SELECT DISTINCT route_id FROM retried) AS again
    WHERE route.route_id = again.route_id
)
SELECT route_id, count(*) FROM retried GROUP BY route_id
