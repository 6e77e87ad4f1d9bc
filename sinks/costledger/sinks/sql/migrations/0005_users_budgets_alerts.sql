-- What people set, and what they are told.
SET LOCAL ROLE costledger_owner;

CREATE TABLE IF NOT EXISTS ledger.users (
    user_id    text PRIMARY KEY,
    tier       text NOT NULL DEFAULT 'default',
    time_zone  text NOT NULL DEFAULT 'UTC',
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE ledger.users IS 'Tier and time zone of the users that have, or had, a budget of their own.';

CREATE TABLE IF NOT EXISTS ledger.budgets (
    user_id            text NOT NULL,
    version            integer NOT NULL CHECK (version > 0),
    deleted            boolean NOT NULL DEFAULT false,
    tier               text NOT NULL,
    monthly_budget     numeric(24, 12),
    alert_thresholds   numeric(9, 4)[],
    currency           text NOT NULL,
    time_zone          text NOT NULL,
    hourly_spike_limit numeric(24, 12),
    updated_at         timestamptz NOT NULL,
    PRIMARY KEY (user_id, version)
);
COMMENT ON TABLE ledger.budgets IS 'Every version of every budget; the highest is in force. Deleting is a version too.';

CREATE TABLE IF NOT EXISTS ledger.budget_outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id    text NOT NULL,
    version    integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (user_id, version) REFERENCES ledger.budgets
);
COMMENT ON TABLE ledger.budget_outbox IS 'Budgets that Kafka does not have yet; removed once it acknowledged them.';

CREATE TABLE IF NOT EXISTS ledger.alerts (
    alert_id          uuid PRIMARY KEY,
    kind              text NOT NULL,
    state             text NOT NULL,
    severity          text NOT NULL,
    user_id           text NOT NULL,
    scope             text NOT NULL,
    period_start      timestamptz NOT NULL,
    period_end        timestamptz NOT NULL,
    threshold_percent numeric(9, 4),
    actual            numeric(24, 12) NOT NULL,
    "limit"           numeric(24, 12),
    currency          text NOT NULL,
    budget_version    bigint,
    occurred_at       timestamptz NOT NULL,
    raised_at         timestamptz NOT NULL,
    late              boolean NOT NULL,
    message           text NOT NULL,
    recorded_at       timestamptz NOT NULL DEFAULT now(),
    acknowledged_at   timestamptz,
    acknowledged_by   text,
    snoozed_until     timestamptz
);
CREATE INDEX IF NOT EXISTS alerts_user ON ledger.alerts (user_id, raised_at DESC);
CREATE INDEX IF NOT EXISTS alerts_raised_at ON ledger.alerts USING brin (raised_at);
COMMENT ON TABLE ledger.alerts IS 'Every alert once, whatever repeats there are on the topic.';

CREATE TABLE IF NOT EXISTS ledger.alert_deliveries (
    alert_id        uuid NOT NULL REFERENCES ledger.alerts,
    channel         text NOT NULL,
    target          text NOT NULL,
    state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    delivered_at    timestamptz,
    PRIMARY KEY (alert_id, channel, target)
);
CREATE INDEX IF NOT EXISTS alert_deliveries_due ON ledger.alert_deliveries (next_attempt_at) WHERE state = 'pending';
COMMENT ON TABLE ledger.alert_deliveries IS 'Outbox of alerts to people: one row per alert, channel and target.';

CREATE TABLE IF NOT EXISTS ledger.reports (
    kind         text NOT NULL,
    period_start timestamptz NOT NULL,
    period_end   timestamptz NOT NULL,
    content      jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, period_start)
);
COMMENT ON TABLE ledger.reports IS 'Daily and weekly reports, one per kind and period.';

CREATE TABLE IF NOT EXISTS ledger.prices (
    price_version text NOT NULL,
    service       text NOT NULL,
    operation     text NOT NULL,
    valid_from    timestamptz NOT NULL,
    valid_to      timestamptz,
    unit          text NOT NULL,
    unit_price    numeric NOT NULL,
    source        text NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (price_version, service, operation, valid_from)
);
COMMENT ON TABLE ledger.prices IS 'Prices as they were in each version of the price book, USD per unit.';
