-- Tamper evidence: entries sealed in blocks, each with a hash over its rows and over the block before it.
SET LOCAL ROLE costledger_owner;

CREATE TABLE IF NOT EXISTS ledger.chain_blocks (
    id             bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    topic          text NOT NULL,
    partition      integer NOT NULL,
    number         bigint NOT NULL CHECK (number > 0),
    format         smallint NOT NULL,
    since          timestamptz,
    first_offset   bigint NOT NULL,
    next_offset    bigint NOT NULL CHECK (next_offset >= first_offset),
    rows           integer NOT NULL CHECK (rows >= 0),
    rows_total     bigint NOT NULL,
    missing        bigint NOT NULL,
    recorded_from  timestamptz,
    recorded_until timestamptz,
    sealed_at      timestamptz NOT NULL,
    previous_hash  bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash           bytea NOT NULL CHECK (length(hash) = 32),
    fingerprints   bytea NOT NULL,
    PRIMARY KEY (topic, partition, number)
);
-- Nothing compresses a hash.
ALTER TABLE ledger.chain_blocks ALTER COLUMN fingerprints SET STORAGE EXTERNAL;

COMMENT ON TABLE ledger.chain_blocks IS
    'Chains of blocks of entries in the order of their offsets, one for each partition of a topic. Append-only.';
COMMENT ON COLUMN ledger.chain_blocks.id IS 'in the order in which blocks were sealed, over all chains';
COMMENT ON COLUMN ledger.chain_blocks.number IS 'counts up from 1 in each chain';
COMMENT ON COLUMN ledger.chain_blocks.format IS 'which columns are hashed, and how';
COMMENT ON COLUMN ledger.chain_blocks.since IS
    'since of the sink_offsets: which topic of this name; null: entries older than the position that the chain began with';
COMMENT ON COLUMN ledger.chain_blocks.first_offset IS 'the block covers all entries from this offset';
COMMENT ON COLUMN ledger.chain_blocks.next_offset IS 'up to this one, excluded; equal to first_offset where it only counts or begins';
COMMENT ON COLUMN ledger.chain_blocks.rows IS 'entries in the block';
COMMENT ON COLUMN ledger.chain_blocks.rows_total IS 'entries in the blocks of this since, up to and with this one';
COMMENT ON COLUMN ledger.chain_blocks.missing IS
    'entries of this since that the sink had counted and that were not there to be sealed; below 0: more than it had counted';
COMMENT ON COLUMN ledger.chain_blocks.recorded_from IS 'least recorded_at of the block''s entries: where to find them';
COMMENT ON COLUMN ledger.chain_blocks.recorded_until IS 'greatest recorded_at of the block''s entries';
COMMENT ON COLUMN ledger.chain_blocks.previous_hash IS 'hash of the block before; zeros for the first one';
COMMENT ON COLUMN ledger.chain_blocks.hash IS 'SHA-256 over all this but the fingerprints, and over the entries';
COMMENT ON COLUMN ledger.chain_blocks.fingerprints IS
    'for each entry: steps from the offset before (LEB128), then 8 bytes of its SHA-256; to name the one that was changed';

CREATE OR REPLACE TRIGGER chain_blocks_append_only BEFORE UPDATE OR DELETE ON ledger.chain_blocks
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_change();
CREATE OR REPLACE TRIGGER chain_blocks_no_truncate BEFORE TRUNCATE ON ledger.chain_blocks
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

REVOKE ALL ON ledger.chain_blocks FROM PUBLIC;
GRANT SELECT, INSERT ON ledger.chain_blocks TO costledger_writer;

CREATE OR REPLACE VIEW analyst.completeness AS
SELECT o.topic, o.partition, o.next_offset, o.first_offset, o.consumed, o.inserted, o.duplicates, o.quarantined,
       o.skipped AS gaps, o.unpriced, o.consumed - o.inserted - o.duplicates - o.quarantined - o.skipped AS unexplained,
       o.last_inserted_at AS newest_recorded_at, o.updated_at,
       CASE WHEN b.since = o.since THEN b.next_offset END AS sealed_offset,
       CASE WHEN b.since = o.since THEN o.inserted - b.rows_total - b.missing ELSE o.inserted END AS unsealed,
       b.sealed_at
FROM ledger.sink_offsets AS o
LEFT JOIN LATERAL (
    SELECT c.since, c.next_offset, c.rows_total, c.missing, c.sealed_at
    FROM ledger.chain_blocks AS c
    WHERE c.topic = o.topic AND c.partition = o.partition
    ORDER BY c.number DESC
    LIMIT 1
) AS b ON true;
COMMENT ON COLUMN analyst.completeness.sealed_offset IS
    'entries below it are sealed in the hash chain, which costledger verify checks; null: none yet';
COMMENT ON COLUMN analyst.completeness.unsealed IS 'entries that are not in the hash chain yet';
COMMENT ON COLUMN analyst.completeness.sealed_at IS 'when the newest block of the hash chain was sealed, UTC';
