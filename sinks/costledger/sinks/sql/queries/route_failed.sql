-- One attempt at a time, with growing waits: what else waits for this route need not find out for itself.
UPDATE ledger.alert_routes
SET failures = failures + 1, retry_at = %(retry_at)s, enabled = enabled AND NOT %(gone)s,
    disabled_reason = CASE WHEN %(gone)s THEN %(reason)s ELSE disabled_reason END
WHERE route_id = %(route_id)s
