WITH given AS (
    SELECT * FROM jsonb_to_recordset(%(prices)s) AS t (
        price_version text, service text, operation text, model text, unit text, unit_price numeric,
        rounded_up boolean, additions jsonb, valid_from timestamptz, valid_to timestamptz, source text
    )
), added AS (
    INSERT INTO ledger.prices (price_version, service, operation, model, unit, unit_price, rounded_up, additions,
                               valid_from, valid_to, source)
    SELECT price_version, service, operation, model, unit, unit_price, rounded_up, additions,
           valid_from, valid_to, source
    FROM given
    ORDER BY price_version, service, operation, model, unit, valid_from
    ON CONFLICT DO NOTHING
    RETURNING 1
)
SELECT count(*) FROM added
