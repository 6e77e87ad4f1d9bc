-- Since when there is something to report and somebody to do so: the first batch of a sink, and the job queue.
-- NULL before. (Else an upgrade would send reports of weeks that nobody had asked for.)
SELECT greatest((SELECT min(o.since) FROM ledger.sink_offsets AS o),
                (SELECT min(m.applied_at) FROM jobs.schema_migrations AS m))
WHERE EXISTS (SELECT FROM ledger.sink_offsets)
