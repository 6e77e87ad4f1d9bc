-- Reports: stored once for each kind and period, kept in Redis too, and sent to people.
SET LOCAL ROLE costledger_owner;

ALTER TABLE ledger.reports
    ADD COLUMN IF NOT EXISTS report_date date,
    ADD COLUMN IF NOT EXISTS time_zone text NOT NULL DEFAULT 'UTC',
    ADD COLUMN IF NOT EXISTS revision integer NOT NULL DEFAULT 1 CHECK (revision > 0),
    ADD COLUMN IF NOT EXISTS complete boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS content_sha256 bytea,
    ADD COLUMN IF NOT EXISTS updated_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS cached_at timestamptz,
    ADD COLUMN IF NOT EXISTS handed_over_at timestamptz;

COMMENT ON TABLE ledger.reports IS
    'Daily reports, weekly analyses and hourly sweeps, each once for its kind and period; only --refresh makes one anew.';
COMMENT ON COLUMN ledger.reports.kind IS 'daily, weekly or sweep';
COMMENT ON COLUMN ledger.reports.report_date IS 'the day of a daily report; the day after the seven of a weekly one';
COMMENT ON COLUMN ledger.reports.time_zone IS 'IANA zone in which the period is whole days';
COMMENT ON COLUMN ledger.reports.revision IS 'counts up when the report is made anew by hand';
COMMENT ON COLUMN ledger.reports.complete IS 'whether the ledger had all that Kafka had received by the end of the period';
COMMENT ON COLUMN ledger.reports.content IS 'the figures; money as decimal text, USD';
COMMENT ON COLUMN ledger.reports.content_sha256 IS 'SHA-256 of the content as text with sorted keys and no spaces';
COMMENT ON COLUMN ledger.reports.updated_at IS 'when this revision was made';
COMMENT ON COLUMN ledger.reports.cached_at IS 'when Redis got this revision; null: still owed';
COMMENT ON COLUMN ledger.reports.handed_over_at IS 'when the deliveries to people were queued; null for what was made by hand';
CREATE INDEX IF NOT EXISTS reports_date ON ledger.reports (kind, report_date DESC);

CREATE TABLE IF NOT EXISTS ledger.report_deliveries (
    kind          text NOT NULL,
    period_start  timestamptz NOT NULL,
    target_sha256 bytea NOT NULL,
    target        text NOT NULL,
    state         text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts      integer NOT NULL DEFAULT 0,
    last_error    text,
    claimed_until timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    delivered_at  timestamptz,
    PRIMARY KEY (kind, period_start, target_sha256),
    FOREIGN KEY (kind, period_start) REFERENCES ledger.reports
);
COMMENT ON TABLE ledger.report_deliveries IS 'One row for each report and recipient: that it is sent once, and whether it was.';
COMMENT ON COLUMN ledger.report_deliveries.target_sha256 IS 'which recipient of the settings: the address itself holds passwords';
COMMENT ON COLUMN ledger.report_deliveries.target IS 'the recipient without its passwords, for people';
COMMENT ON COLUMN ledger.report_deliveries.claimed_until IS 'until then one process is sending it';
COMMENT ON COLUMN ledger.report_deliveries.state IS 'pending, delivered, or dead: given up after the time of the settings';

-- Whole hours and days of UTC within a time: the first that begins at it or later, the one that it is in.
CREATE OR REPLACE FUNCTION ledger.hour_from(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('1 hour', instant + interval '1 hour' - interval '1 microsecond', '2000-01-01 00:00:00+00')
$$;
CREATE OR REPLACE FUNCTION ledger.hour_of(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('1 hour', instant, '2000-01-01 00:00:00+00')
$$;
CREATE OR REPLACE FUNCTION ledger.day_from(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('1 day', instant + interval '1 day' - interval '1 microsecond', '2000-01-01 00:00:00+00')
$$;
CREATE OR REPLACE FUNCTION ledger.day_of(instant timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_bin('1 day', instant, '2000-01-01 00:00:00+00')
$$;

-- What was used in [start_at, end_at), exactly: whole UTC days from the daily totals, whole hours beside them from the
-- hourly ones, and only where a zone's day does not begin or end on a full hour of UTC, the entries of that hour.
-- A plain SQL function, which the planner takes apart: bounds are constants to it, and conditions are pushed into it.
CREATE OR REPLACE FUNCTION ledger.usage_between(start_at timestamptz, end_at timestamptz)
RETURNS TABLE (user_id text, service text, operation text, events bigint, unpriced bigint, quantity numeric,
               amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT d.user_id, d.service, d.operation, d.events, d.unpriced, d.quantity, d.amount
    FROM ledger.daily_totals AS d
    WHERE d.day >= (ledger.day_from(start_at) AT TIME ZONE 'UTC')::date
      AND d.day < (ledger.day_of(end_at) AT TIME ZONE 'UTC')::date
    UNION ALL
    SELECT h.user_id, h.service, h.operation, h.events, h.unpriced, h.quantity, h.amount
    FROM ledger.hourly_totals AS h
    WHERE h.hour >= ledger.hour_from(start_at)
      AND h.hour < least(ledger.day_from(start_at), ledger.hour_of(end_at))
    UNION ALL
    SELECT h.user_id, h.service, h.operation, h.events, h.unpriced, h.quantity, h.amount
    FROM ledger.hourly_totals AS h
    WHERE h.hour >= greatest(ledger.day_of(end_at), ledger.day_from(start_at))
      AND h.hour < ledger.hour_of(end_at)
    UNION ALL
    SELECT e.user_id, e.service, e.operation, CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           CASE WHEN e.amount IS NOT NULL THEN 0 WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           e.quantity, coalesce(e.amount, 0)
    FROM ledger.entries AS e
    -- An event's id has its time in milliseconds; the ids are what the entries are partitioned and indexed by.
    WHERE start_at < ledger.hour_from(start_at)
      AND e.event_id >= ledger.uuid7_floor(start_at - interval '1 second')
      AND e.event_id < ledger.uuid7_floor(least(ledger.hour_from(start_at), end_at) + interval '1 second')
      AND e.occurred_at >= start_at AND e.occurred_at < least(ledger.hour_from(start_at), end_at)
    UNION ALL
    SELECT e.user_id, e.service, e.operation, CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           CASE WHEN e.amount IS NOT NULL THEN 0 WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           e.quantity, coalesce(e.amount, 0)
    FROM ledger.entries AS e
    WHERE ledger.hour_of(end_at) < end_at
      AND e.event_id >= ledger.uuid7_floor(greatest(ledger.hour_of(end_at), ledger.hour_from(start_at))
                                           - interval '1 second')
      AND e.event_id < ledger.uuid7_floor(end_at + interval '1 second')
      AND e.occurred_at >= greatest(ledger.hour_of(end_at), ledger.hour_from(start_at)) AND e.occurred_at < end_at
$$;
COMMENT ON FUNCTION ledger.usage_between IS
    'What was used in [start_at, end_at) by user, service and operation (several rows each: sum them), less what was taken back.';

REVOKE ALL ON FUNCTION ledger.usage_between(timestamptz, timestamptz), ledger.hour_from(timestamptz),
    ledger.hour_of(timestamptz), ledger.day_from(timestamptz), ledger.day_of(timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.usage_between(timestamptz, timestamptz), ledger.hour_from(timestamptz),
    ledger.hour_of(timestamptz), ledger.day_from(timestamptz), ledger.day_of(timestamptz) TO costledger_writer;
REVOKE ALL ON ledger.report_deliveries FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON ledger.report_deliveries TO costledger_writer;

CREATE OR REPLACE VIEW analyst.reports AS
SELECT kind, report_date, period_start, period_end, time_zone, revision, complete, content, created_at, updated_at
FROM ledger.reports;
COMMENT ON VIEW analyst.reports IS 'Daily reports, weekly analyses and hourly sweeps as they were made, one row each.';
COMMENT ON COLUMN analyst.reports.kind IS 'daily, weekly or sweep';
COMMENT ON COLUMN analyst.reports.report_date IS 'the day of a daily report; the day after the seven of a weekly one; NULL for a sweep';
COMMENT ON COLUMN analyst.reports.period_start IS 'first instant of what it is about, UTC';
COMMENT ON COLUMN analyst.reports.period_end IS 'first instant after it, UTC';
COMMENT ON COLUMN analyst.reports.time_zone IS 'IANA zone in which the period is whole days';
COMMENT ON COLUMN analyst.reports.revision IS 'counts up when the report is made anew by hand';
COMMENT ON COLUMN analyst.reports.complete IS 'false: made although the ledger was behind';
COMMENT ON COLUMN analyst.reports.content IS 'the figures; money as decimal text, USD';
COMMENT ON COLUMN analyst.reports.created_at IS 'when it was first made';
COMMENT ON COLUMN analyst.reports.updated_at IS 'when this revision was made';
GRANT SELECT ON analyst.reports TO costledger_analyst;
