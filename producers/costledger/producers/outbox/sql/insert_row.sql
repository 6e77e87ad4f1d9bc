INSERT INTO {table} (event_id, key, value) VALUES (%(event_id)s::uuid, %(key)s, %(value)s)
