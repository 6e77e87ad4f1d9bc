-- Budgets that Kafka does not have yet, oldest first: the versions of one user stay in order.
SELECT o.id, b.user_id, b.version, b.deleted, b.tier, b.monthly_budget, b.alert_thresholds, b.currency, b.time_zone,
       b.hourly_spike_limit, b.updated_at
FROM ledger.budget_outbox AS o
JOIN ledger.budgets AS b USING (user_id, version)
ORDER BY o.id
LIMIT %(limit)s
