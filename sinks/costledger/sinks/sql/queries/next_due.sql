-- When a route is to be looked at again; no row where nothing waits. And whether a job for that is there already.
SELECT due.at, EXISTS (
    SELECT FROM jobs.procrastinate_jobs AS job
    WHERE job.status = 'todo' AND job.task_name = %(task)s AND job.args ->> 'route_id' = %(route_id)s::text
      AND (job.scheduled_at IS NULL OR job.scheduled_at <= due.at)
)
FROM (
    SELECT greatest(min(delivery.next_attempt_at), max(route.retry_at)) AS at
    FROM ledger.alert_routes AS route
    JOIN ledger.alert_deliveries AS delivery ON delivery.route_id = route.route_id AND delivery.state = 'pending'
    WHERE route.route_id = %(route_id)s AND route.enabled AND route.removed_at IS NULL
) AS due
WHERE due.at IS NOT NULL
