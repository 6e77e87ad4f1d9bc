-- All blocks, in the order in which they were sealed: within a chain that of their numbers.
SELECT b.topic, b.partition, b.number, b.format, b.since, b.first_offset, b.next_offset, b.rows, b.rows_total, b.missing,
       b.recorded_from, b.recorded_until, b.sealed_at, b.previous_hash, b.hash, b.fingerprints
FROM ledger.chain_blocks AS b
WHERE %(partitions)s::integer[] IS NULL OR b.partition = ANY (%(partitions)s)
ORDER BY b.id
