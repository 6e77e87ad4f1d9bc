SELECT e.kafka_partition, e.kafka_offset, e.event_id::text, e.user_id, e.service, e.operation, e.category, e.quantity, e.unit,
       e.unit_price, e.price_version, e.amount, e.currency, (extract(epoch FROM e.occurred_at) * 1000000)::bigint,
       e.source, e.reverses_event_id::text, e.metadata
FROM ledger.entries AS e
WHERE e.event_id = ANY (%(event_ids)s::uuid[])
