-- Rows of the batch whose id is in the ledger with another content.
SELECT b.kafka_partition, b.kafka_offset
FROM pg_temp.batch_entries AS b
JOIN ledger.entries AS e USING (event_id)
WHERE (b.reverses_event_id, b.occurred_at, b.quantity, b.amount, b.unit_price, b.user_id, b.service, b.operation,
       b.category, b.unit, b.price_version, b.currency, b.source, b.metadata)
      IS DISTINCT FROM
      (e.reverses_event_id, e.occurred_at, e.quantity, e.amount, e.unit_price, e.user_id, e.service, e.operation,
       e.category, e.unit, e.price_version, e.currency, e.source, e.metadata)
