-- The ledger itself: append-only, partitioned by the month in the event id.
SET LOCAL ROLE costledger_owner;

CREATE TABLE IF NOT EXISTS ledger.entries (
    event_id          uuid NOT NULL,
    reverses_event_id uuid,
    occurred_at       timestamptz NOT NULL,
    received_at       timestamptz,
    recorded_at       timestamptz NOT NULL DEFAULT now(),
    kafka_offset      bigint NOT NULL,
    kafka_partition   integer NOT NULL,
    quantity          numeric(24, 9) NOT NULL,
    amount            numeric(24, 12),
    unit_price        numeric,
    user_id           text NOT NULL,
    service           text NOT NULL,
    operation         text NOT NULL,
    category          text NOT NULL,
    unit              text NOT NULL,
    price_version     text,
    currency          text NOT NULL,
    source            text NOT NULL,
    kafka_topic       text NOT NULL,
    metadata          jsonb NOT NULL,
    -- The partitions' bounds are bounds of event_id, so this key is unique over all of them.
    PRIMARY KEY (event_id)
) PARTITION BY RANGE (event_id);

COMMENT ON TABLE ledger.entries IS 'Every cost event once. Append-only: a correction is a new entry with reverses_event_id.';
COMMENT ON COLUMN ledger.entries.event_id IS 'UUIDv7 made where the event was; the time in it is that of occurred_at';
COMMENT ON COLUMN ledger.entries.occurred_at IS 'when the call was made (valid time)';
COMMENT ON COLUMN ledger.entries.received_at IS 'when the broker stored the event; the clock for "late" and "too far ahead"';
COMMENT ON COLUMN ledger.entries.recorded_at IS 'when the ledger got it (transaction time): the same for a whole batch';
COMMENT ON COLUMN ledger.entries.quantity IS 'in the unit named by unit';
COMMENT ON COLUMN ledger.entries.amount IS 'USD, exact to 1e-12; null: no price was known (unpriced), never zero for that';
COMMENT ON COLUMN ledger.entries.unit_price IS 'USD per unit; null where there is no single one';

-- Times are nearly in the order of insertion: a BRIN is a thousandth of a btree and costs next to nothing.
CREATE INDEX IF NOT EXISTS entries_occurred_at ON ledger.entries USING brin (occurred_at);
CREATE INDEX IF NOT EXISTS entries_recorded_at ON ledger.entries USING brin (recorded_at);
CREATE INDEX IF NOT EXISTS entries_kafka_offset ON ledger.entries USING brin (kafka_offset);

CREATE OR REPLACE FUNCTION ledger.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % on %.% is refused; correct with a reversing entry',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'object_not_in_prerequisite_state';
END
$$;

-- Row triggers reach the partitions by themselves; TRUNCATE triggers do not (see ledger.add_partition).
CREATE OR REPLACE TRIGGER entries_append_only BEFORE UPDATE OR DELETE ON ledger.entries
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE OR REPLACE TRIGGER entries_no_truncate BEFORE TRUNCATE ON ledger.entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE TABLE IF NOT EXISTS ledger.entries_default PARTITION OF ledger.entries DEFAULT;
COMMENT ON TABLE ledger.entries_default IS 'Entries of months without a partition. Should be empty; the sink says so when not.';
CREATE OR REPLACE TRIGGER entries_no_truncate BEFORE TRUNCATE ON ledger.entries_default
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE OR REPLACE FUNCTION ledger.uuid7_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(floor(extract(epoch FROM instant) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;
COMMENT ON FUNCTION ledger.uuid7_floor IS 'No UUIDv7 of this millisecond or later is below it, none earlier is above it.';

CREATE OR REPLACE FUNCTION ledger.month_floor(month date) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT ledger.uuid7_floor(date_trunc('month', month::timestamp) AT TIME ZONE 'UTC')
$$;

CREATE OR REPLACE FUNCTION ledger.add_partition(month date) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    name text := 'entries_' || to_char(month, 'YYYY_MM');
    bounds text := format('FROM (%L) TO (%L)', ledger.month_floor(month),
                          ledger.month_floor((month + interval '1 month')::date));
BEGIN
    IF to_regclass('ledger.' || name) IS NOT NULL THEN
        RETURN true;
    END IF;
    -- Made beside the table and then attached: CREATE ... PARTITION OF would lock out all readers and writers.
    EXECUTE format('CREATE TABLE ledger.%I (LIKE ledger.entries INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
    EXECUTE format('CREATE TRIGGER entries_no_truncate BEFORE TRUNCATE ON ledger.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', name);
    EXECUTE format('ALTER TABLE ledger.entries ATTACH PARTITION ledger.%I FOR VALUES %s', name, bounds);
    RETURN true;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING 'ledger.entries_default holds entries of %, so that month gets no partition of its own',
        to_char(month, 'YYYY-MM');
    RETURN false;
END
$$;

CREATE OR REPLACE FUNCTION ledger.ensure_partitions(first_month date, last_month date) RETURNS SETOF date
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF last_month > first_month + interval '120 years' THEN
        RAISE EXCEPTION 'partitions from % to % are more than 120 years', first_month, last_month
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- One at a time: two sinks may meet a new month together.
    PERFORM pg_advisory_xact_lock(hashtext('ledger.ensure_partitions'));
    RETURN QUERY
        SELECT m::date
        FROM generate_series(date_trunc('month', first_month::timestamp), date_trunc('month', last_month::timestamp),
                             interval '1 month') AS months (m)
        WHERE NOT ledger.add_partition(m::date);
END
$$;
COMMENT ON FUNCTION ledger.ensure_partitions IS
    'Makes the partitions of all months from the first to the last; returns those that stay in the DEFAULT partition.';

REVOKE ALL ON FUNCTION ledger.add_partition(date), ledger.ensure_partitions(date, date) FROM PUBLIC;
