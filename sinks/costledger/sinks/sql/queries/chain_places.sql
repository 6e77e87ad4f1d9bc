-- Which entries a partition has: to name those that no block covers. Times outside those that there are, which somebody has put
-- there, are the first or the last one.
SELECT e.kafka_offset, least(greatest(e.recorded_at, '0001-01-02'), '9999-12-30'), e.event_id::text
FROM ledger.entries AS e
WHERE e.kafka_topic = %(topic)s AND e.kafka_partition = %(partition)s
  AND e.recorded_at >= %(recorded_from)s::timestamptz AND e.recorded_at < %(recorded_before)s::timestamptz
ORDER BY e.kafka_offset, e.event_id
