INSERT INTO ledger.chain_blocks (topic, partition, number, format, since, first_offset, next_offset, rows, rows_total,
                                 missing, recorded_from, recorded_until, sealed_at, previous_hash, hash, fingerprints)
VALUES (%(topic)s, %(partition)s, %(number)s, %(format)s, %(since)s, %(first_offset)s, %(next_offset)s, %(rows)s,
        %(rows_total)s, %(missing)s, %(recorded_from)s, %(recorded_until)s, %(sealed_at)s, %(previous_hash)s, %(hash)s,
        %(fingerprints)s)
