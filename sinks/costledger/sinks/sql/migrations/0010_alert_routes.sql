-- Where alerts go to people, and what became of each on its way.
SET LOCAL ROLE costledger_owner;

CREATE TABLE IF NOT EXISTS ledger.alert_routes (
    route_id        uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    owner           text NOT NULL CHECK (owner IN ('user', 'operator')),
    user_id         text,
    channel         text NOT NULL CHECK (channel IN ('email', 'slack', 'teams', 'webhook')),
    target          text NOT NULL,
    target_key      text NOT NULL,
    target_shown    text NOT NULL,
    secret          text,
    kinds           text[],
    severity_min    text NOT NULL DEFAULT 'INFO' CHECK (severity_min IN ('INFO', 'WARNING', 'CRITICAL')),
    include_ok      boolean NOT NULL DEFAULT false,
    enabled         boolean NOT NULL DEFAULT true,
    disabled_reason text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    removed_at      timestamptz,
    failures        integer NOT NULL DEFAULT 0,
    retry_at        timestamptz,
    claimed_by      uuid,
    claimed_until   timestamptz,
    CHECK ((owner = 'user') = (user_id IS NOT NULL))
);
CREATE UNIQUE INDEX IF NOT EXISTS alert_routes_once ON ledger.alert_routes (owner, coalesce(user_id, ''), channel, target_key)
    WHERE removed_at IS NULL;
CREATE INDEX IF NOT EXISTS alert_routes_user ON ledger.alert_routes (user_id) WHERE removed_at IS NULL;

COMMENT ON TABLE ledger.alert_routes IS 'Where alerts go: a user''s own, or an operator''s with the alerts of all users. Removed ones stay, without their target.';
COMMENT ON COLUMN ledger.alert_routes.target IS 'Secret: an address or URL, often with a token in it. Empty once removed.';
COMMENT ON COLUMN ledger.alert_routes.target_key IS 'SHA-256 of the target, to tell targets apart without reading them.';
COMMENT ON COLUMN ledger.alert_routes.target_shown IS 'The target as it may be shown.';
COMMENT ON COLUMN ledger.alert_routes.secret IS 'Secret: signs the messages of a webhook (Standard Webhooks).';
COMMENT ON COLUMN ledger.alert_routes.kinds IS 'Only alerts of these kinds; NULL: all.';
COMMENT ON COLUMN ledger.alert_routes.include_ok IS 'Also the news that an alarm is over.';
COMMENT ON COLUMN ledger.alert_routes.failures IS 'Attempts in a row that failed; retry_at is before when the next is not made.';
COMMENT ON COLUMN ledger.alert_routes.claimed_until IS 'The worker claimed_by delivers to this route, alone, until then at the latest.';

ALTER TABLE ledger.alert_deliveries
    ADD COLUMN IF NOT EXISTS route_id uuid REFERENCES ledger.alert_routes,
    ADD COLUMN IF NOT EXISTS ready_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS gathered boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS digest_id uuid,
    ADD COLUMN IF NOT EXISTS ended_at timestamptz;
ALTER TABLE ledger.alert_deliveries DROP CONSTRAINT IF EXISTS alert_deliveries_state_check;
ALTER TABLE ledger.alert_deliveries ADD CONSTRAINT alert_deliveries_state_check
    CHECK (state IN ('pending', 'delivered', 'dead', 'suppressed'));
CREATE INDEX IF NOT EXISTS alert_deliveries_route_due ON ledger.alert_deliveries (route_id, next_attempt_at)
    WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS alert_deliveries_route_sent ON ledger.alert_deliveries (route_id, delivered_at)
    WHERE state = 'delivered';
CREATE INDEX IF NOT EXISTS alert_deliveries_state ON ledger.alert_deliveries (state, created_at);

COMMENT ON TABLE ledger.alert_deliveries IS 'Alerts on their way to people: one row per alert, channel and target, written with the alert.';
COMMENT ON COLUMN ledger.alert_deliveries.target IS 'owner of the route and its target_key: no secret.';
COMMENT ON COLUMN ledger.alert_deliveries.state IS
    'pending; delivered; dead: given up; suppressed: acknowledged before it was sent, or its route was removed.';
COMMENT ON COLUMN ledger.alert_deliveries.ready_at IS 'From when on it could be sent: when it was made, or the end of a snooze.';
COMMENT ON COLUMN ledger.alert_deliveries.gathered IS 'Waits to be sent together with others, in one message.';
COMMENT ON COLUMN ledger.alert_deliveries.digest_id IS 'The message that holds it together with others; set when that was first attempted.';
COMMENT ON COLUMN ledger.alert_deliveries.ended_at IS 'When it became delivered, dead or suppressed.';

GRANT SELECT, INSERT, UPDATE ON ledger.alert_routes TO costledger_writer;
