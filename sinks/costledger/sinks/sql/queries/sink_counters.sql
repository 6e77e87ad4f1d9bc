-- Positions and counters, with the number of entries that each partition has in the ledger. `unpriced` are the calls
-- that have no price yet: an unpriced entry that was taken back is none any more.
SELECT o.partition, o.next_offset, o.first_offset, o.consumed, o.inserted, o.duplicates, o.quarantined, o.skipped,
       held.unpriced, held.entries, o.unpriced AS came_unpriced,
       (SELECT count(*) FROM ledger.quarantine AS q
        WHERE q.topic = o.topic AND q.partition = o.partition AND q.quarantined_at < o.since) AS formerly_quarantined
FROM ledger.sink_offsets AS o
CROSS JOIN LATERAL (
    SELECT count(*) AS entries,
           coalesce(sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END) FILTER (WHERE e.amount IS NULL), 0)
               AS unpriced
    FROM ledger.entries AS e
    WHERE e.kafka_topic = o.topic AND e.kafka_partition = o.partition AND e.recorded_at >= o.since
) AS held
WHERE o.topic = %(topic)s
ORDER BY o.partition
