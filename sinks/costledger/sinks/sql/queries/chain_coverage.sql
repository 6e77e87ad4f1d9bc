-- All entries, counted by the part of a chain (0: none) that they belong to: in all, and of these below the end of its
-- blocks; and the oldest of the others, but for what somebody has put outside the times that there are.
SELECT e.kafka_topic, e.kafka_partition, coalesce(s.part, 0), count(*),
       count(*) FILTER (WHERE e.kafka_offset < s.sealed_offset),
       min(e.recorded_at) FILTER (WHERE (s.part IS NULL OR e.kafka_offset >= s.sealed_offset)
                                    AND e.recorded_at BETWEEN '0001-01-02' AND '9999-12-30')
FROM ledger.entries AS e
LEFT JOIN unnest(%(parts)s::integer[], %(topics)s::text[], %(of_partitions)s::integer[],
                 %(recorded_from)s::timestamptz[], %(recorded_before)s::timestamptz[], %(sealed_offsets)s::bigint[])
    AS s (part, topic, partition, recorded_from, recorded_before, sealed_offset)
    ON e.kafka_topic = s.topic AND e.kafka_partition = s.partition
    AND e.recorded_at >= s.recorded_from AND e.recorded_at < s.recorded_before
WHERE %(partitions)s::integer[] IS NULL OR e.kafka_partition = ANY (%(partitions)s)
GROUP BY 1, 2, 3
