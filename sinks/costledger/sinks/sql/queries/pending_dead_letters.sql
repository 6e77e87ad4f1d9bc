-- What the dead-letter topic does not have yet; two sinks take different rows.
SELECT id, topic, partition, "offset", reason, error, key, payload
FROM ledger.quarantine
WHERE dead_letter_pending
ORDER BY id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
