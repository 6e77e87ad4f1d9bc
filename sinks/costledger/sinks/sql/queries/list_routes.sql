-- Routes as they may be shown, with what waits and what was given up. Of one user, of the operators, or all.
SELECT route.route_id, route.owner, route.user_id, route.channel, route.target_shown, route.kinds, route.severity_min,
       route.include_ok, route.enabled, route.disabled_reason, route.created_at, route.failures, route.retry_at,
       count(*) FILTER (WHERE delivery.state = 'pending') AS pending,
       count(*) FILTER (WHERE delivery.state = 'dead') AS dead
FROM ledger.alert_routes AS route
LEFT JOIN ledger.alert_deliveries AS delivery
    ON delivery.route_id = route.route_id AND delivery.state IN ('pending', 'dead')
WHERE route.removed_at IS NULL
  AND (%(owner)s::text IS NULL OR route.owner = %(owner)s)
  AND (%(user_id)s::text IS NULL OR route.user_id = %(user_id)s)
  AND (%(route_id)s::uuid IS NULL OR route.route_id = %(route_id)s)
GROUP BY route.route_id
ORDER BY route.created_at, route.route_id
LIMIT %(limit)s
