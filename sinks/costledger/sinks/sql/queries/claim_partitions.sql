-- Takes partitions over: whoever held them before has an older epoch from now on, and is fenced.
INSERT INTO ledger.sink_offsets AS o (topic, partition, next_offset, epoch, first_offset)
SELECT %(topic)s, partition, 0, 1, 0
FROM unnest(%(partitions)s::integer[]) AS claimed (partition)
ORDER BY partition
ON CONFLICT (topic, partition) DO UPDATE SET epoch = o.epoch + 1
RETURNING partition, next_offset, epoch
