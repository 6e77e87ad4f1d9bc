-- How far the sink has written each partition of a topic.
SELECT o.partition, o.next_offset
FROM ledger.sink_offsets AS o
WHERE o.topic = %(topic)s
