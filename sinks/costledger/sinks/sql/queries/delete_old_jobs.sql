-- Jobs that ended without success a while ago; done ones are deleted at once.
DELETE FROM jobs.procrastinate_jobs AS j
WHERE j.status IN ('failed', 'cancelled', 'aborted', 'succeeded')
  AND NOT EXISTS (
      SELECT FROM jobs.procrastinate_events AS e
      WHERE e.job_id = j.id AND e.at > now() - make_interval(days => %(days)s)
  )
