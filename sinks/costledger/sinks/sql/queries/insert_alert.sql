-- An alert once, however often the topic repeats it.
INSERT INTO ledger.alerts (alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent,
                           actual, "limit", currency, budget_version, occurred_at, raised_at, late, message)
VALUES (%(alert_id)s, %(kind)s, %(state)s, %(severity)s, %(user_id)s, %(scope)s, %(period_start)s, %(period_end)s,
        %(threshold_percent)s, %(actual)s, %(limit)s, %(currency)s, %(budget_version)s, %(occurred_at)s, %(raised_at)s,
        %(late)s, %(message)s)
ON CONFLICT (alert_id) DO NOTHING
