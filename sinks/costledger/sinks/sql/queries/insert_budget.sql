-- A version, and the note that Kafka lacks it.
WITH stored AS (
    INSERT INTO ledger.budgets (user_id, version, deleted, tier, monthly_budget, alert_thresholds, currency, time_zone,
                                hourly_spike_limit, updated_at)
    VALUES (%(user_id)s, %(version)s, %(deleted)s, %(tier)s, %(monthly_budget)s, %(alert_thresholds)s::numeric[],
            %(currency)s, %(time_zone)s, %(hourly_spike_limit)s, %(updated_at)s)
    RETURNING user_id, version
)
INSERT INTO ledger.budget_outbox (user_id, version) SELECT user_id, version FROM stored
