-- Give the claim back.
UPDATE ledger.alert_routes SET claimed_by = NULL, claimed_until = NULL
WHERE route_id = %(route_id)s AND claimed_by = %(token)s
