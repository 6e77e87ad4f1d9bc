-- Jobs of workers that have died, back into the queue: each by one of those that look, in one statement.
SELECT procrastinate_retry_job_v2(stalled.id, now(), NULL, NULL, NULL), stalled.id
FROM (
    SELECT job.id
    FROM procrastinate_jobs AS job
    WHERE job.status = 'doing'
      AND NOT EXISTS (
          SELECT FROM procrastinate_workers AS worker
          WHERE worker.id = job.worker_id AND worker.last_heartbeat >= now() - make_interval(secs => %(silent_seconds)s)
      )
      -- Two of one queueing lock cannot wait together: this one has to wait until the other has begun.
      AND NOT EXISTS (
          SELECT FROM procrastinate_jobs AS waiting
          WHERE waiting.queueing_lock = job.queueing_lock
            AND (waiting.status = 'todo' OR (waiting.status = 'doing' AND waiting.id < job.id))
      )
    FOR UPDATE OF job SKIP LOCKED
) AS stalled
