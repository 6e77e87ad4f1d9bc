-- The price book as analysts join it: price_version and the operation lead to the price and its source.
-- Nothing wrote ledger.prices before this, and its key had no room for two models or units of one operation.
SET LOCAL ROLE costledger_owner;

ALTER TABLE ledger.prices
    ADD COLUMN IF NOT EXISTS model text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS rounded_up boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS additions jsonb NOT NULL DEFAULT '{}';
ALTER TABLE ledger.prices DROP CONSTRAINT IF EXISTS prices_pkey;
ALTER TABLE ledger.prices ADD PRIMARY KEY (price_version, service, operation, model, unit, valid_from);

COMMENT ON TABLE ledger.prices IS 'Prices as they were in each version of the price book, USD per unit, written by "costledger prices record".';
COMMENT ON COLUMN ledger.prices.operation IS 'Operation of the events, or * for all others of the service.';
COMMENT ON COLUMN ledger.prices.model IS 'Only for events whose metadata names this model; empty for all.';
COMMENT ON COLUMN ledger.prices.rounded_up IS 'Is a begun unit charged as a whole one?';
COMMENT ON COLUMN ledger.prices.additions IS 'What is charged besides: a name in the events'' metadata -> USD for each, as text.';

CREATE OR REPLACE VIEW analyst.prices AS
SELECT price_version, service, operation, NULLIF(model, '') AS model, unit, unit_price, rounded_up, additions,
       valid_from, valid_to, source, recorded_at
FROM ledger.prices;
COMMENT ON VIEW analyst.prices IS
    'The price book, one row for each price of each version; join with costs on price_version, service and operation.';
COMMENT ON COLUMN analyst.prices.price_version IS 'As the events carry it: version of the file @ first day.';
COMMENT ON COLUMN analyst.prices.service IS 'Who charges.';
COMMENT ON COLUMN analyst.prices.operation IS 'Operation of the events, or * for all others of the service.';
COMMENT ON COLUMN analyst.prices.model IS 'Only for events whose metadata names this model; NULL for all.';
COMMENT ON COLUMN analyst.prices.unit IS 'What one unit of the quantity is.';
COMMENT ON COLUMN analyst.prices.unit_price IS 'USD per unit.';
COMMENT ON COLUMN analyst.prices.rounded_up IS 'Is a begun unit charged as a whole one?';
COMMENT ON COLUMN analyst.prices.additions IS 'What is charged besides: a name in the events'' metadata -> USD for each, as text.';
COMMENT ON COLUMN analyst.prices.valid_from IS 'In force from here (UTC midnight).';
COMMENT ON COLUMN analyst.prices.valid_to IS 'In force up to here, excluded; NULL: no end.';
COMMENT ON COLUMN analyst.prices.source IS 'Where the number comes from.';
COMMENT ON COLUMN analyst.prices.recorded_at IS 'When it was recorded here.';
GRANT SELECT ON analyst.prices TO costledger_analyst;
