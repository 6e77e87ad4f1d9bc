-- What the blocks of a part of a chain cover.
SELECT b.first_offset, b.next_offset, b.recorded_from, b.recorded_until
FROM ledger.chain_blocks AS b
WHERE b.topic = %(topic)s AND b.partition = %(partition)s AND b.since IS NOT DISTINCT FROM %(since)s
ORDER BY b.number
