"""HTTP: analytics, budgets, alerts, decisions and the dashboard, over the ledger's roll-ups and Redis."""
