-- Events that wait for Kafka. A row is written in the transaction that the event belongs to, and deleted when Kafka
-- has acknowledged it. The writers need INSERT; the relay needs SELECT, UPDATE (to lock rows) and DELETE.
CREATE TABLE IF NOT EXISTS {table} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (
    -- Every row is deleted soon: without an early vacuum the relay would read over ever more dead rows.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000
);
COMMENT ON TABLE {table} IS 'Cost events that wait for Kafka: relayed, then deleted, by costledger outbox relay';
COMMENT ON COLUMN {table}.id IS 'the order in which the events are relayed';
COMMENT ON COLUMN {table}.event_id IS 'the id in the event; not unique here: the ledger refuses repeats';
COMMENT ON COLUMN {table}.key IS 'the key of the Kafka message: the user id in UTF-8';
COMMENT ON COLUMN {table}.value IS 'the value of the Kafka message: the event as it was encoded when it was tracked';
COMMENT ON COLUMN {table}.created_at IS 'when the row was written';
