"""Kafka to the Postgres ledger: migrations, the sink, the notifier, budgets, quarantine and reconciliation."""
