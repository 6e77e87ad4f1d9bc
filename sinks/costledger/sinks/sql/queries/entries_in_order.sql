-- The entries that came from these ranges of the topic, in the topic's order.
SELECT e.kafka_partition, e.kafka_offset, e.event_id::text, e.user_id, e.service, e.operation, e.category, e.quantity, e.unit,
       e.unit_price, e.price_version, e.amount, e.currency, (extract(epoch FROM e.occurred_at) * 1000000)::bigint,
       e.source, e.reverses_event_id::text, e.metadata
FROM ledger.entries AS e
JOIN unnest(%(partitions)s::integer[], %(lows)s::bigint[], %(highs)s::bigint[]) AS r (partition, low, high)
    ON e.kafka_partition = r.partition AND e.kafka_offset >= r.low AND e.kafka_offset < r.high
JOIN ledger.sink_offsets AS o ON o.topic = e.kafka_topic AND o.partition = e.kafka_partition
WHERE e.kafka_topic = %(topic)s AND e.recorded_at >= o.since
ORDER BY e.kafka_partition, e.kafka_offset
