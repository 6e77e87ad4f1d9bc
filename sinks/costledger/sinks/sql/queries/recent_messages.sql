-- Messages that a route got since then; a digest is one. And when the deliveries that are being gathered go out.
SELECT (SELECT count(DISTINCT coalesce(digest_id, alert_id)) FROM ledger.alert_deliveries
        WHERE route_id = %(route_id)s AND state = 'delivered' AND delivered_at > %(since)s),
       (SELECT min(next_attempt_at) FROM ledger.alert_deliveries
        WHERE route_id = %(route_id)s AND state = 'pending' AND gathered AND digest_id IS NULL
          AND next_attempt_at > %(now)s)
