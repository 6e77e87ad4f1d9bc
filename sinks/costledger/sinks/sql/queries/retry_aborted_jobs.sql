-- Jobs that a worker left when it was told to stop and could wait no longer, back into the queue.
UPDATE procrastinate_jobs AS job
SET status = 'todo', scheduled_at = now(), worker_id = NULL
WHERE job.status = 'aborted'
  -- Two of one queueing lock cannot wait together: this one has to wait until the other has begun.
  AND NOT EXISTS (
      SELECT FROM procrastinate_jobs AS waiting
      WHERE waiting.queueing_lock = job.queueing_lock
        AND (waiting.status = 'todo' OR (waiting.status = 'aborted' AND waiting.id < job.id))
  )
RETURNING job.id
