-- How many entries are in no block yet, of all topics; by the sink's count, without reading an entry.
SELECT coalesce(sum(CASE WHEN b.since = o.since THEN greatest(o.inserted - b.rows_total - b.missing, 0)
                         ELSE o.inserted END), 0)::bigint
FROM ledger.sink_offsets AS o
LEFT JOIN LATERAL (
    SELECT c.since, c.rows_total, c.missing
    FROM ledger.chain_blocks AS c
    WHERE c.topic = o.topic AND c.partition = o.partition
    ORDER BY c.number DESC
    LIMIT 1
) AS b ON true
