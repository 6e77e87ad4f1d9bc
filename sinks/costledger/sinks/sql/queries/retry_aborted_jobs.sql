-- Jobs that a worker left when it was told to stop and could wait no longer, back into the queue.
UPDATE procrastinate_jobs
SET status = 'todo', scheduled_at = now(), worker_id = NULL
WHERE status = 'aborted'
RETURNING id
