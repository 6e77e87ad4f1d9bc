-- What the chains cover: for each topic of a name (since) how far its blocks reach, and how many entries they hold.
SELECT b.topic, b.partition, b.since, max(b.next_offset), sum(b.rows)::bigint
FROM ledger.chain_blocks AS b
WHERE %(partitions)s::integer[] IS NULL OR b.partition = ANY (%(partitions)s)
GROUP BY b.topic, b.partition, b.since
ORDER BY b.topic, b.partition, b.since NULLS FIRST
