-- Jobs of workers that have died, which hold the lock that their successor waits for, while that takes the place in which
-- they could wait themselves: the successor does their work.
UPDATE procrastinate_jobs AS job
SET status = 'failed', worker_id = NULL
WHERE job.status = 'doing'
  AND NOT EXISTS (
      SELECT FROM procrastinate_workers AS worker
      WHERE worker.id = job.worker_id AND worker.last_heartbeat >= now() - make_interval(secs => %(silent_seconds)s)
  )
  AND EXISTS (
      SELECT FROM procrastinate_jobs AS waiting
      WHERE waiting.status = 'todo' AND waiting.queueing_lock = job.queueing_lock AND waiting.lock = job.lock
        AND waiting.task_name = job.task_name
  )
RETURNING job.id
