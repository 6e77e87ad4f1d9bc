-- How many entries each partition of each topic has, and how many of them are where the sink's position says that none can be.
-- `earlier`: from before the position was first kept. Of the others, `outside`: at offsets that it has not passed.
SELECT e.kafka_topic, e.kafka_partition, bool_or(o.topic IS NOT NULL) AS is_known, count(*) AS entries,
       count(*) FILTER (WHERE e.recorded_at < o.since) AS earlier,
       count(*) FILTER (WHERE e.recorded_at >= o.since AND NOT (e.kafka_offset >= o.first_offset AND e.kafka_offset < o.next_offset))
           AS outside,
       coalesce(sum(e.amount) FILTER (WHERE e.recorded_at >= o.since
                                      AND NOT (e.kafka_offset >= o.first_offset AND e.kafka_offset < o.next_offset)), 0)
           AS outside_amount,
       count(*) FILTER (WHERE e.recorded_at >= o.since AND e.amount IS NULL) AS without_amount,
       coalesce(sum(e.amount), 0) AS amount
FROM ledger.entries AS e
LEFT JOIN ledger.sink_offsets AS o ON o.topic = e.kafka_topic AND o.partition = e.kafka_partition
GROUP BY 1, 2
ORDER BY 1, 2
