-- When another worker's claim to a route ends, where something waits; and whether a job is there by then.
SELECT route.claimed_until, EXISTS (
    SELECT FROM jobs.procrastinate_jobs AS job
    WHERE job.status = 'todo' AND job.task_name = %(task)s AND job.args ->> 'route_id' = %(route_id)s::text
      AND (job.scheduled_at IS NULL OR job.scheduled_at <= route.claimed_until)
)
FROM ledger.alert_routes AS route
WHERE route.route_id = %(route_id)s AND route.enabled AND route.removed_at IS NULL AND route.claimed_until IS NOT NULL
  AND EXISTS (
      SELECT FROM ledger.alert_deliveries AS delivery
      WHERE delivery.route_id = route.route_id AND delivery.state = 'pending'
  )
