-- Later again, or given up: where it has been tried for too long, or where nothing will ever be taken.
UPDATE ledger.alert_deliveries
SET last_error = %(reason)s,
    state = CASE WHEN %(gone)s OR ready_at + %(dead_after)s <= %(now)s THEN 'dead' ELSE 'pending' END,
    ended_at = CASE WHEN %(gone)s OR ready_at + %(dead_after)s <= %(now)s THEN %(now)s END,
    next_attempt_at = least(%(now)s + %(wait)s, ready_at + %(dead_after)s)
WHERE route_id = %(route_id)s AND state = 'pending'
  AND (alert_id = ANY (%(alert_ids)s) OR %(gone)s OR ready_at + %(dead_after)s <= %(now)s)
RETURNING alert_id, state, next_attempt_at
