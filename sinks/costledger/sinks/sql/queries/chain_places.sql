-- Which entries a partition has: to name those that no block covers.
SELECT e.kafka_offset, e.recorded_at, e.event_id::text
FROM ledger.entries AS e
WHERE e.kafka_topic = %(topic)s AND e.kafka_partition = %(partition)s
  AND e.recorded_at >= %(recorded_from)s::timestamptz AND e.recorded_at < %(recorded_before)s::timestamptz
ORDER BY e.kafka_offset, e.event_id
