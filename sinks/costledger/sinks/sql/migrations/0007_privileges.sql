-- Who may do what. The writer adds to the ledger and cannot change it; the analyst reads views.
SET LOCAL ROLE costledger_owner;

REVOKE ALL ON SCHEMA ledger, analyst FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ledger, analyst FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger, analyst FROM PUBLIC;

GRANT USAGE ON SCHEMA ledger TO costledger_writer;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO costledger_writer;
GRANT INSERT ON ledger.entries, ledger.budgets, ledger.prices TO costledger_writer;
GRANT INSERT, UPDATE ON ledger.hourly_totals, ledger.daily_totals, ledger.sink_offsets, ledger.users,
    ledger.alert_deliveries, ledger.reports TO costledger_writer;
GRANT INSERT, DELETE ON ledger.budget_outbox TO costledger_writer;
GRANT INSERT, UPDATE (replayed_at, dead_letter_pending, dead_lettered_at) ON ledger.quarantine TO costledger_writer;
GRANT INSERT, UPDATE (acknowledged_at, acknowledged_by, snoozed_until) ON ledger.alerts TO costledger_writer;
GRANT EXECUTE ON FUNCTION ledger.ensure_partitions(date, date), ledger.uuid7_floor(timestamptz) TO costledger_writer;

-- Functions in a view run with the rights of who asks.
GRANT USAGE ON SCHEMA analyst TO costledger_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analyst TO costledger_analyst;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA analyst TO costledger_analyst;
