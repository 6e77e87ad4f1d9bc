-- Positions and counters, with the number of entries that each partition has in the ledger.
SELECT o.partition, o.next_offset, o.first_offset, o.consumed, o.inserted, o.duplicates, o.quarantined, o.skipped,
       o.unpriced,
       (SELECT count(*) FROM ledger.entries AS e
        WHERE e.kafka_topic = o.topic AND e.kafka_partition = o.partition AND e.recorded_at >= o.since) AS entries
FROM ledger.sink_offsets AS o
WHERE o.topic = %(topic)s
ORDER BY o.partition
