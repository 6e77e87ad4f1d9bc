-- The entries of some blocks of one topic, in the order of the chain. Every column by name and in this order: these bytes
-- are what is hashed, and a change here is a new format. The bounds over all blocks are for the BRIN indexes.
COPY (
    SELECT e.kafka_partition, e.kafka_offset, e.event_id, e.recorded_at, e.occurred_at, e.received_at, e.user_id,
           e.service, e.operation, e.category, e.quantity, e.unit, e.unit_price, e.price_version, e.amount, e.currency,
           e.source, e.reverses_event_id, e.kafka_topic, e.metadata
    FROM ledger.entries AS e
    JOIN unnest(%(partitions)s::integer[], %(first_offsets)s::bigint[], %(next_offsets)s::bigint[],
                %(recorded_from)s::timestamptz[], %(recorded_before)s::timestamptz[])
        AS r (partition, first_offset, next_offset, recorded_from, recorded_before)
        ON e.kafka_partition = r.partition AND e.kafka_offset >= r.first_offset AND e.kafka_offset < r.next_offset
        AND e.recorded_at >= r.recorded_from AND e.recorded_at < r.recorded_before
    WHERE e.kafka_topic = %(topic)s
      AND e.kafka_offset >= %(least_offset)s AND e.kafka_offset < %(end_offset)s
      AND e.recorded_at >= %(least_recorded)s::timestamptz AND e.recorded_at < %(end_recorded)s::timestamptz
    ORDER BY e.kafka_partition, e.kafka_offset, e.event_id
) TO STDOUT (FORMAT BINARY)
