-- Routes of a user for which something is due, and nobody is at it, and no job will be: they had to wait for a place.
SELECT route.route_id
FROM ledger.alert_routes AS route
JOIN ledger.alert_deliveries AS delivery ON delivery.route_id = route.route_id
WHERE route.user_id = %(user_id)s AND route.enabled AND route.removed_at IS NULL
  AND (route.retry_at IS NULL OR route.retry_at <= now())
  AND route.claimed_until IS NULL
  AND delivery.state = 'pending' AND delivery.next_attempt_at <= now()
  AND NOT EXISTS (
      SELECT FROM jobs.procrastinate_jobs AS job
      WHERE job.status = 'todo' AND job.task_name = %(task)s AND job.args ->> 'route_id' = route.route_id::text
        AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
  )
GROUP BY route.route_id
ORDER BY min(delivery.next_attempt_at)
LIMIT %(limit)s
