-- In one message, so that the caller waits for one round trip. After a failure PostgreSQL skips the rest.
SAVEPOINT costledger_outbox;
INSERT INTO {table} (event_id, key, value) VALUES (%(event_id)s::uuid, %(key)s, %(value)s);
RELEASE SAVEPOINT costledger_outbox
