-- Inserts what the ledger lacks; ordered by id, so that two sinks that meet do not deadlock, then by age: the first wins.
INSERT INTO ledger.entries
SELECT * FROM pg_temp.batch_entries ORDER BY event_id, kafka_partition, kafka_offset
ON CONFLICT (event_id) DO NOTHING
RETURNING kafka_partition, kafka_offset
