-- Times before 1970 have no UUIDv7: every id is later. (Their hexadecimal form would be above all ids, so that a range
-- that begins there held nothing.) Nor have times beyond 48 bits of milliseconds: every id is earlier.
SET LOCAL ROLE costledger_owner;

CREATE OR REPLACE FUNCTION ledger.uuid7_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex(least(greatest(floor(extract(epoch FROM instant) * 1000), 0), 281474976710655)::bigint), 12, '0')
            || repeat('0', 20))::uuid
$$;
