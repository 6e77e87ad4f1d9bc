-- The sink's position behind all entries of a topic: as if it had written them, one after the other.
INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, consumed, inserted, unpriced,
    last_inserted_at)
SELECT kafka_topic, kafka_partition, max(kafka_offset) + 1, 1, 0, count(*), count(*),
       count(*) FILTER (WHERE amount IS NULL), max(recorded_at)
FROM ledger.entries
WHERE kafka_topic = %(topic)s
GROUP BY 1, 2
ON CONFLICT (topic, partition) DO UPDATE
SET next_offset = EXCLUDED.next_offset, consumed = EXCLUDED.consumed, inserted = EXCLUDED.inserted,
    unpriced = EXCLUDED.unpriced, last_inserted_at = EXCLUDED.last_inserted_at
