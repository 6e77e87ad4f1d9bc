UPDATE ledger.alert_routes SET failures = 0, retry_at = NULL
WHERE route_id = %(route_id)s AND (failures > 0 OR retry_at IS NOT NULL)
