-- How far the ledger is with each partition.
SELECT o.partition, o.next_offset, o.consumed, o.inserted, o.duplicates, o.quarantined, o.unpriced,
       o.consumed - o.inserted - o.duplicates - o.quarantined - o.skipped AS unexplained, o.updated_at,
       o.last_inserted_at
FROM ledger.sink_offsets AS o
WHERE o.topic = %(topic)s
ORDER BY o.partition
LIMIT 1024
