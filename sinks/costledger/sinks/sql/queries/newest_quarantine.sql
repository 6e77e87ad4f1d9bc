SELECT id, topic, partition, "offset", reason, error, key, payload, received_at, quarantined_at, replayed_at,
       dead_lettered_at
FROM ledger.quarantine
WHERE replayed_at IS NULL
ORDER BY id DESC
LIMIT %(limit)s
