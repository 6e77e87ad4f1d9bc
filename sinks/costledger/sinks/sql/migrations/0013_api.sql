-- What the HTTP API needs: pages of alerts, and to know whether the ledger is up to date.
SET LOCAL ROLE costledger_owner;

-- Pages go by (raised_at, alert_id), newest first: of one user, or of all of them.
CREATE INDEX IF NOT EXISTS alerts_user_page ON ledger.alerts (user_id, raised_at DESC, alert_id DESC);
CREATE INDEX IF NOT EXISTS alerts_page ON ledger.alerts (raised_at DESC, alert_id DESC);
DROP INDEX IF EXISTS ledger.alerts_user;

-- What people do with an alert is written since the API is there.
COMMENT ON COLUMN analyst.alerts.acknowledged_at IS 'when somebody first took note, UTC';
COMMENT ON COLUMN analyst.alerts.acknowledged_by IS 'who took note first';
COMMENT ON COLUMN analyst.alerts.snoozed_until IS 'not delivered to people before then, UTC';

-- The list of migrations is of the role that migrates, not of the ledger's owner.
RESET ROLE;
GRANT USAGE ON SCHEMA public TO costledger_writer;
GRANT SELECT ON public._yoyo_migration TO costledger_writer;
