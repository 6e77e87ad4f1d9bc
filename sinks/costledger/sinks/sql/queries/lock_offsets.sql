-- Where partitions stand. FOR UPDATE waits for a commit that is still on its way.
SELECT partition, next_offset, epoch
FROM ledger.sink_offsets
WHERE topic = %(topic)s AND partition = ANY (%(partitions)s)
ORDER BY partition
FOR UPDATE
