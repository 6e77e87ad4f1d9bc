-- Deliveries of alerts by channel and state; of those that are done only what is from the last 30 days.
SELECT d.channel, d.state, count(*) AS deliveries, min(d.created_at) AS oldest
FROM ledger.alert_deliveries AS d
WHERE d.state IN ('pending', 'dead') OR d.created_at > now() - interval '30 days'
GROUP BY d.channel, d.state
ORDER BY d.channel, d.state
