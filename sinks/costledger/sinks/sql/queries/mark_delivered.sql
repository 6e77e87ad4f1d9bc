-- The other side has taken it. Says how long each waited.
UPDATE ledger.alert_deliveries
SET state = 'delivered', delivered_at = %(now)s, ended_at = %(now)s, last_error = NULL
WHERE route_id = %(route_id)s AND alert_id = ANY (%(alert_ids)s) AND state = 'pending'
RETURNING extract(epoch FROM %(now)s - created_at)::double precision
