-- How many entries each partition of each topic has, and how many of them are where the sink's position says that none can be.
-- `earlier`: from before the position was first kept, or of a partition without one. Of the others, `outside`: at offsets that it
-- has never passed; what it has passed is its first offset and all that it has consumed, also where it was set back since.
SELECT e.kafka_topic, e.kafka_partition,
       count(*) AS entries,
       count(*) FILTER (WHERE o.since IS NULL OR e.recorded_at < o.since) AS earlier,
       count(*) FILTER (WHERE outside.is_so) AS outside,
       coalesce(sum(e.amount) FILTER (WHERE outside.is_so), 0) AS outside_amount,
       count(*) FILTER (WHERE e.recorded_at >= o.since AND e.amount IS NULL) AS without_amount
FROM ledger.entries AS e
LEFT JOIN ledger.sink_offsets AS o ON o.topic = e.kafka_topic AND o.partition = e.kafka_partition
CROSS JOIN LATERAL (
    SELECT e.recorded_at >= o.since AND NOT (e.kafka_offset >= o.first_offset AND e.kafka_offset < o.first_offset + o.consumed)
) AS outside (is_so)
GROUP BY 1, 2
ORDER BY 1, 2
