-- Puts a message aside. The same message again (a rewind) is the same row.
INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error, key, payload, received_at, dead_letter_pending)
VALUES (%(topic)s, %(partition)s, %(offset)s, %(reason)s, %(error)s, %(key)s, %(payload)s, %(received_at)s,
        %(dead_letter_pending)s)
ON CONFLICT (topic, partition, "offset", payload_sha256) DO NOTHING
