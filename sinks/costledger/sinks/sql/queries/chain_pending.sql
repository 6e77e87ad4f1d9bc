-- How many entries are in some ranges of one topic: number, oldest, first and last offset.
SELECT e.kafka_partition, count(*), least(greatest(min(e.recorded_at), '0001-01-02'), '9999-12-30'), min(e.kafka_offset), max(e.kafka_offset)
FROM ledger.entries AS e
JOIN unnest(%(partitions)s::integer[], %(first_offsets)s::bigint[], %(next_offsets)s::bigint[],
            %(recorded_from)s::timestamptz[], %(recorded_before)s::timestamptz[])
    AS r (partition, first_offset, next_offset, recorded_from, recorded_before)
    ON e.kafka_partition = r.partition AND e.kafka_offset >= r.first_offset AND e.kafka_offset < r.next_offset
    AND e.recorded_at >= r.recorded_from AND e.recorded_at < r.recorded_before
WHERE e.kafka_topic = %(topic)s
  AND e.kafka_offset >= %(least_offset)s AND e.kafka_offset < %(end_offset)s
  AND e.recorded_at >= %(least_recorded)s::timestamptz AND e.recorded_at < %(end_recorded)s::timestamptz
GROUP BY e.kafka_partition
