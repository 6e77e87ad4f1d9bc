-- The oldest rows that no other relay has in hand, without those that Kafka has refused to this one.
SELECT id, key, value
FROM {table}
WHERE id <> ALL (%(passed_over)s)
ORDER BY id
LIMIT %(rows_max)s
FOR UPDATE SKIP LOCKED
