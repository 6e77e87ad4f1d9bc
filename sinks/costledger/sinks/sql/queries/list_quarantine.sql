SELECT id, topic, partition, "offset", reason, error, key, payload, received_at, quarantined_at, replayed_at,
       dead_lettered_at
FROM ledger.quarantine
WHERE id > %(after_id)s
  AND (%(reason)s::text IS NULL OR reason = %(reason)s)
  AND (%(include_replayed)s OR replayed_at IS NULL)
ORDER BY id
LIMIT %(limit)s
