-- What the scheduler's metrics show: jobs by state, deliveries of reports that are not done, by state.
SELECT 'job', j.status::text, count(*) FROM jobs.procrastinate_jobs AS j GROUP BY j.status
UNION ALL
SELECT 'delivery', d.state, count(*) FROM ledger.report_deliveries AS d WHERE d.state <> 'delivered' GROUP BY d.state
