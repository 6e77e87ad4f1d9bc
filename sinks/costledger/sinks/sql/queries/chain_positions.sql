-- Where the sink stands with all topics.
SELECT o.topic, o.partition, o.since, o.inserted
FROM ledger.sink_offsets AS o
WHERE %(partitions)s::integer[] IS NULL OR o.partition = ANY (%(partitions)s)
ORDER BY o.topic, o.partition
