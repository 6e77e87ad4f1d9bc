-- How far the ledger was: everything below next_offset is in it, or in quarantine.
SELECT topic, partition, next_offset FROM ledger.sink_offsets ORDER BY topic, partition
