SELECT user_id, version, deleted, tier, monthly_budget, alert_thresholds, currency, time_zone, hourly_spike_limit,
       updated_at
FROM ledger.budgets
WHERE user_id = %(user_id)s
ORDER BY version DESC
LIMIT 1
