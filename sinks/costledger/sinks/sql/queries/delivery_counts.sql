-- How many deliveries wait and how many were given up, by channel.
SELECT channel, count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'dead')
FROM ledger.alert_deliveries
WHERE state IN ('pending', 'dead')
GROUP BY channel
