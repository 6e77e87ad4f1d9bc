-- Fails where the table is missing, or is another one.
SELECT id, event_id, key, value, created_at FROM {table} LIMIT 0
