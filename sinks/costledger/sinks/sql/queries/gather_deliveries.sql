-- A flood: these go out together at that time.
UPDATE ledger.alert_deliveries SET gathered = true, next_attempt_at = %(at)s
WHERE route_id = %(route_id)s AND alert_id = ANY (%(alert_ids)s) AND state = 'pending'
