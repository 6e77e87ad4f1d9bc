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

-- What was used in [start_at, end_at), exactly: whole UTC days from the daily totals, whole hours beside them from the
-- hourly ones, and only where a zone's day does not begin or end on a full hour of UTC, the entries of that hour.
-- A plain SQL function, so that the planner takes it apart and pushes conditions into it.
CREATE OR REPLACE FUNCTION ledger.usage_between(start_at timestamptz, end_at timestamptz)
RETURNS TABLE (user_id text, service text, operation text, events bigint, unpriced bigint, quantity numeric,
               amount numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    WITH hours AS (
        SELECT start_at AS start_at, end_at AS end_at,
               date_bin('1 hour', start_at + interval '1 hour' - interval '1 microsecond',
                        timestamptz '2000-01-01 00:00:00+00') AS first_hour,
               date_bin('1 hour', end_at, timestamptz '2000-01-01 00:00:00+00') AS end_hour
    ), bounds AS (
        SELECT h.*,
               ((h.first_hour AT TIME ZONE 'UTC') + interval '1 day' - interval '1 microsecond')::date AS first_day,
               (h.end_hour AT TIME ZONE 'UTC')::date AS end_day
        FROM hours AS h
    ), places AS (
        SELECT b.*, b.first_day::timestamp AT TIME ZONE 'UTC' AS first_midnight,
               b.end_day::timestamp AT TIME ZONE 'UTC' AS end_midnight
        FROM bounds AS b
    )
    SELECT d.user_id, d.service, d.operation, d.events, d.unpriced, d.quantity, d.amount
    FROM places AS p
    JOIN ledger.daily_totals AS d ON d.day >= p.first_day AND d.day < p.end_day
    UNION ALL
    SELECT h.user_id, h.service, h.operation, h.events, h.unpriced, h.quantity, h.amount
    FROM places AS p
    CROSS JOIN LATERAL (
        VALUES (p.first_hour, least(p.first_midnight, p.end_hour)),
               (greatest(p.end_midnight, p.first_midnight), p.end_hour)
    ) AS edge (from_at, to_at)
    JOIN ledger.hourly_totals AS h ON h.hour >= edge.from_at AND h.hour < edge.to_at
    UNION ALL
    SELECT e.user_id, e.service, e.operation, CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           CASE WHEN e.amount IS NOT NULL THEN 0 WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END::bigint,
           e.quantity, coalesce(e.amount, 0)
    FROM places AS p
    CROSS JOIN LATERAL (
        VALUES (p.start_at, least(p.first_hour, p.end_at)), (greatest(p.end_hour, p.first_hour), p.end_at)
    ) AS edge (from_at, to_at)
    JOIN ledger.entries AS e
      ON e.occurred_at >= edge.from_at AND e.occurred_at < edge.to_at
     -- An event's id has its time in milliseconds; the ids are what the entries are partitioned and indexed by.
     AND e.event_id >= ledger.uuid7_floor(edge.from_at - interval '1 second')
     AND e.event_id < ledger.uuid7_floor(edge.to_at + interval '1 second')
    WHERE edge.from_at < edge.to_at
$$;
COMMENT ON FUNCTION ledger.usage_between IS
    'What was used in [start_at, end_at) by user, service and operation (several rows each: sum them), less what was taken back.';

REVOKE ALL ON FUNCTION ledger.usage_between(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.usage_between(timestamptz, timestamptz) TO costledger_writer;
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
