-- Where those of some event ids that the ledger has lie on the topic, and whose they are.
SELECT e.event_id::text, e.user_id, e.kafka_partition, e.kafka_offset
FROM ledger.entries AS e
WHERE e.event_id = ANY (%(event_ids)s::uuid[])
