-- Until the end of the transaction nobody else claims a route of the same user. (A hash that two share makes one wait.)
SELECT pg_advisory_xact_lock(hashtextextended(user_id, %(lock)s))
FROM ledger.alert_routes
WHERE route_id = %(route_id)s AND owner = 'user'
