-- Where the sink stands, and what it put aside.
SET LOCAL ROLE costledger_owner;

CREATE TABLE IF NOT EXISTS ledger.sink_offsets (
    topic            text NOT NULL,
    partition        integer NOT NULL,
    next_offset      bigint NOT NULL,
    epoch            bigint NOT NULL,
    first_offset     bigint NOT NULL,
    consumed         bigint NOT NULL DEFAULT 0,
    inserted         bigint NOT NULL DEFAULT 0,
    duplicates       bigint NOT NULL DEFAULT 0,
    quarantined      bigint NOT NULL DEFAULT 0,
    skipped          bigint NOT NULL DEFAULT 0,
    unpriced         bigint NOT NULL DEFAULT 0,
    since            timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    last_inserted_at timestamptz,
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 50);

COMMENT ON TABLE ledger.sink_offsets IS
    'How far each partition is in the ledger. inserted + duplicates + quarantined + skipped = consumed, always.';
COMMENT ON COLUMN ledger.sink_offsets.next_offset IS 'the next offset to read; everything below it is accounted for';
COMMENT ON COLUMN ledger.sink_offsets.epoch IS 'raised by each process that takes the partition over; an older one is fenced';
COMMENT ON COLUMN ledger.sink_offsets.first_offset IS 'the first offset that this row ever accounted for';
COMMENT ON COLUMN ledger.sink_offsets.consumed IS 'offsets passed; more than next_offset - first_offset after a rewind by hand';
COMMENT ON COLUMN ledger.sink_offsets.skipped IS 'offsets that held no message: transaction markers, or expired by retention';
COMMENT ON COLUMN ledger.sink_offsets.since IS 'when this row was made: older entries may come from an earlier topic of this name';

CREATE TABLE IF NOT EXISTS ledger.quarantine (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic               text NOT NULL,
    partition           integer NOT NULL,
    "offset"            bigint NOT NULL,
    reason              text NOT NULL,
    error               text NOT NULL,
    key                 bytea,
    payload             bytea,
    received_at         timestamptz,
    quarantined_at      timestamptz NOT NULL DEFAULT now(),
    replayed_at         timestamptz,
    dead_letter_pending boolean NOT NULL DEFAULT false,
    dead_lettered_at    timestamptz,
    payload_sha256      bytea NOT NULL GENERATED ALWAYS AS (sha256(coalesce(payload, ''::bytea))) STORED,
    UNIQUE (topic, partition, "offset", payload_sha256)
);
CREATE INDEX IF NOT EXISTS quarantine_pending ON ledger.quarantine (id) WHERE dead_letter_pending;

COMMENT ON TABLE ledger.quarantine IS 'Messages that could not become entries (or alerts), each once, with the bytes as they came.';
COMMENT ON COLUMN ledger.quarantine.reason IS 'stable code: undecodable, unknown_schema, oversize, invalid_<field>, id_conflict, data_error';
COMMENT ON COLUMN ledger.quarantine.error IS 'one sentence for people: the field, the value and the limit';
COMMENT ON COLUMN ledger.quarantine.replayed_at IS 'when the message was produced again, after a fix';
COMMENT ON COLUMN ledger.quarantine.dead_letter_pending IS
    'the sink still owes this message to the dead-letter topic (only for reasons that only the sink can see)';
