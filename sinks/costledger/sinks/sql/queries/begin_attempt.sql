-- An attempt is counted before it is made.
UPDATE ledger.alert_deliveries SET attempts = attempts + 1, digest_id = %(digest_id)s,
    gathered = %(digest_id)s::uuid IS NOT NULL
WHERE route_id = %(route_id)s AND alert_id = ANY (%(alert_ids)s) AND state = 'pending'
