-- Where the sink stands with each partition of a topic, and the newest block of its chain.
SELECT o.partition, o.first_offset, o.next_offset, o.since, o.inserted, b.number, b.since, b.next_offset, b.rows_total,
       b.missing, b.hash, b.sealed_at
FROM ledger.sink_offsets AS o
LEFT JOIN LATERAL (
    SELECT c.number, c.since, c.next_offset, c.rows_total, c.missing, c.hash, c.sealed_at
    FROM ledger.chain_blocks AS c
    WHERE c.topic = o.topic AND c.partition = o.partition
    ORDER BY c.number DESC
    LIMIT 1
) AS b ON true
WHERE o.topic = %(topic)s
ORDER BY o.partition
