-- Moves the watermark, if it is where this process left it and no other process has taken the partition.
UPDATE ledger.sink_offsets AS o
SET next_offset = batch.next_offset,
    consumed = o.consumed + (batch.next_offset - batch.expected_offset),
    inserted = o.inserted + batch.inserted,
    duplicates = o.duplicates + batch.duplicates,
    quarantined = o.quarantined + batch.quarantined,
    skipped = o.skipped + batch.skipped,
    unpriced = o.unpriced + batch.unpriced,
    updated_at = now(),
    last_inserted_at = CASE WHEN batch.inserted > 0 THEN now() ELSE o.last_inserted_at END
FROM unnest(%(partitions)s::integer[], %(epochs)s::bigint[], %(expected_offsets)s::bigint[],
            %(next_offsets)s::bigint[], %(inserted)s::bigint[], %(duplicates)s::bigint[],
            %(quarantined)s::bigint[], %(skipped)s::bigint[], %(unpriced)s::bigint[])
    AS batch (partition, epoch, expected_offset, next_offset, inserted, duplicates, quarantined, skipped, unpriced)
WHERE o.topic = %(topic)s
  AND o.partition = batch.partition
  AND o.epoch = batch.epoch
  AND o.next_offset = batch.expected_offset
RETURNING o.partition
