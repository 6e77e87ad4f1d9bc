-- Roll-ups: projections of the entries, changed in the same transaction that inserts them.
SET LOCAL ROLE costledger_owner;

-- Room in each page lets an update stay in it (HOT), without touching the index.
CREATE TABLE IF NOT EXISTS ledger.hourly_totals (
    user_id   text NOT NULL,
    hour      timestamptz NOT NULL,
    service   text NOT NULL,
    operation text NOT NULL,
    events    bigint NOT NULL,
    unpriced  bigint NOT NULL,
    quantity  numeric NOT NULL,
    amount    numeric NOT NULL,
    PRIMARY KEY (user_id, hour, service, operation)
) WITH (fillfactor = 80);

CREATE TABLE IF NOT EXISTS ledger.daily_totals (
    user_id   text NOT NULL,
    day       date NOT NULL,
    service   text NOT NULL,
    operation text NOT NULL,
    events    bigint NOT NULL,
    unpriced  bigint NOT NULL,
    quantity  numeric NOT NULL,
    amount    numeric NOT NULL,
    PRIMARY KEY (user_id, day, service, operation)
) WITH (fillfactor = 80);

-- For questions over all users (reports, tiers, sweeps).
CREATE INDEX IF NOT EXISTS hourly_totals_hour ON ledger.hourly_totals USING brin (hour);
CREATE INDEX IF NOT EXISTS daily_totals_day ON ledger.daily_totals (day);

COMMENT ON TABLE ledger.hourly_totals IS 'Entries summed by user, service, operation and hour (UTC) of occurred_at.';
COMMENT ON TABLE ledger.daily_totals IS 'Entries summed by user, service, operation and day (UTC) of occurred_at.';
COMMENT ON COLUMN ledger.hourly_totals.amount IS 'USD of the priced events';
COMMENT ON COLUMN ledger.daily_totals.amount IS 'USD of the priced events';
COMMENT ON COLUMN ledger.hourly_totals.unpriced IS 'how many of the events have no amount';
COMMENT ON COLUMN ledger.daily_totals.unpriced IS 'how many of the events have no amount';
