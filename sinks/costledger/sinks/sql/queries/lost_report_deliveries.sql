-- Reports that are still to be sent, that nobody sends now, and for which no job is left: after one that failed.
SELECT d.kind, d.period_start, d.target_sha256
FROM ledger.report_deliveries AS d
WHERE d.state = 'pending' AND (d.claimed_until IS NULL OR d.claimed_until <= now())
  AND NOT EXISTS (
      SELECT FROM jobs.procrastinate_jobs AS job
      -- Those of dead workers ('doing', 'aborted') are put back into the queue by the workers that live.
      WHERE job.status IN ('todo', 'doing', 'aborted') AND job.task_name = %(task)s
        AND job.args ->> 'kind' = d.kind
        AND (job.args ->> 'period_start')::timestamptz = d.period_start
        AND job.args ->> 'target' = encode(d.target_sha256, 'hex')
  )
ORDER BY d.created_at
LIMIT %(limit)s
FOR UPDATE OF d SKIP LOCKED
