SELECT id, topic, partition, "offset", reason, error, key, payload, received_at, quarantined_at, replayed_at,
       dead_lettered_at
FROM ledger.quarantine
WHERE id = ANY (%(ids)s)
ORDER BY id
