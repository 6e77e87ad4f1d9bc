-- A reversing entry takes back the event that it names: in the roll-ups that is one event less, not one more.
SET LOCAL ROLE costledger_owner;

-- No entry comes while the roll-ups are added up anew; sinks wait, and try again. A transaction that had inserted
-- entries is waited for. (A sink of an earlier release must not go on afterwards: it counts the other way.)
LOCK TABLE ledger.entries IN SHARE MODE;

-- What takes an entry back? Few entries do, so the index is small.
CREATE INDEX IF NOT EXISTS entries_reverses_event_id ON ledger.entries (reverses_event_id)
    WHERE reverses_event_id IS NOT NULL;

-- The hours that have reversing entries, anew from their entries. The time in an event id is within a second of
-- occurred_at, so the bounds of the id find an hour's entries by the primary key.
WITH touched AS (
    SELECT DISTINCT user_id, service, operation, date_trunc('hour', occurred_at, 'UTC') AS hour
    FROM ledger.entries
    WHERE reverses_event_id IS NOT NULL
), told AS (
    SELECT t.user_id, t.service, t.operation, t.hour, sums.events, sums.unpriced, sums.quantity, sums.amount
    FROM touched AS t
    CROSS JOIN LATERAL (
        SELECT sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END) AS events,
               coalesce(sum(CASE WHEN e.reverses_event_id IS NULL THEN 1 ELSE -1 END) FILTER (WHERE e.amount IS NULL), 0)
                   AS unpriced,
               sum(e.quantity) AS quantity,
               coalesce(sum(e.amount), 0) AS amount
        FROM ledger.entries AS e
        WHERE e.event_id >= ledger.uuid7_floor(t.hour - interval '1 minute')
          AND e.event_id < ledger.uuid7_floor(t.hour + interval '61 minutes')
          AND e.occurred_at >= t.hour
          AND e.occurred_at < t.hour + interval '1 hour'
          AND e.user_id = t.user_id
          AND e.service = t.service
          AND e.operation = t.operation
    ) AS sums
)
UPDATE ledger.hourly_totals AS kept
SET events = told.events, unpriced = told.unpriced, quantity = told.quantity, amount = told.amount
FROM told
WHERE (kept.user_id, kept.service, kept.operation, kept.hour) = (told.user_id, told.service, told.operation, told.hour);

WITH touched AS (
    SELECT DISTINCT user_id, service, operation, (occurred_at AT TIME ZONE 'UTC')::date AS day
    FROM ledger.entries
    WHERE reverses_event_id IS NOT NULL
), told AS (
    SELECT t.user_id, t.service, t.operation, t.day, sum(h.events) AS events, sum(h.unpriced) AS unpriced,
           sum(h.quantity) AS quantity, sum(h.amount) AS amount
    FROM touched AS t
    JOIN ledger.hourly_totals AS h
        ON (h.user_id, h.service, h.operation) = (t.user_id, t.service, t.operation)
        AND h.hour >= t.day::timestamp AT TIME ZONE 'UTC'
        AND h.hour < (t.day + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3, 4
)
UPDATE ledger.daily_totals AS kept
SET events = told.events, unpriced = told.unpriced, quantity = told.quantity, amount = told.amount
FROM told
WHERE (kept.user_id, kept.service, kept.operation, kept.day) = (told.user_id, told.service, told.operation, told.day);

COMMENT ON COLUMN ledger.entries.reverses_event_id IS 'the event that this entry takes back; quantity and amount are then negated';
COMMENT ON COLUMN ledger.hourly_totals.events IS 'events, less those taken back by a reversing entry';
COMMENT ON COLUMN ledger.daily_totals.events IS 'events, less those taken back by a reversing entry';
COMMENT ON COLUMN ledger.hourly_totals.unpriced IS 'how many of these events have no amount';
COMMENT ON COLUMN ledger.daily_totals.unpriced IS 'how many of these events have no amount';
COMMENT ON COLUMN ledger.sink_offsets.unpriced IS 'entries that came without an amount, also those taken back since';

-- Unpriced is what has no price yet. Only an entry without an amount is looked up among those taken back.
CREATE OR REPLACE VIEW analyst.costs AS
SELECT e.event_id, e.user_id, coalesce(u.tier, 'default') AS tier, e.service, e.operation, e.category, e.quantity,
       e.unit, e.unit_price, e.price_version, e.amount, e.currency,
       CASE WHEN e.amount IS NULL AND e.reverses_event_id IS NULL
                THEN NOT EXISTS (SELECT FROM ledger.entries AS r WHERE r.reverses_event_id = e.event_id)
            ELSE false END AS unpriced,
       e.occurred_at, e.received_at, e.recorded_at, e.source, e.reverses_event_id, e.metadata
FROM ledger.entries AS e
LEFT JOIN ledger.users AS u USING (user_id);

COMMENT ON VIEW analyst.costs IS 'Every entry once, with the tier of its user today. Corrected events have three: the first one, one that takes it back, and a new one.';
COMMENT ON COLUMN analyst.costs.quantity IS 'how much, in the unit named by unit; negative where the entry takes another one back';
COMMENT ON COLUMN analyst.costs.amount IS 'USD, exact to 1e-12; negative for credits and entries that take another one back; null: no price was known';
COMMENT ON COLUMN analyst.costs.unpriced IS 'true where no price is known yet; such an event adds nothing to any total. False once it was taken back';
COMMENT ON COLUMN analyst.costs.reverses_event_id IS 'the event that this entry takes back; in counts of events it is one less';
COMMENT ON COLUMN analyst.costs.metadata IS 'what the emitter added, a flat object of strings; rerated_from: the entry that was rated again';
COMMENT ON COLUMN analyst.costs_hourly.events IS 'number of events, less those taken back';
COMMENT ON COLUMN analyst.costs_daily.events IS 'number of events, less those taken back';
COMMENT ON COLUMN analyst.costs_hourly.quantity IS 'sum of the quantities, in the operation''s unit, less what was taken back';
COMMENT ON COLUMN analyst.costs_daily.quantity IS 'sum of the quantities, in the operation''s unit, less what was taken back';
COMMENT ON COLUMN analyst.costs_hourly.unpriced IS 'number of events that have no price yet';
COMMENT ON COLUMN analyst.costs_daily.unpriced IS 'number of events that have no price yet';
COMMENT ON COLUMN analyst.completeness.unpriced IS 'entries that came without an amount, also those taken back since';

-- Both entries of a correction are Corrections; the rest of the view is as it was.
-- Where a later migration has added columns, its view stays: none can be taken away.
DO $do$ BEGIN
IF NOT EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = to_regclass('analyst.focus') AND attname = 'CommitmentDiscountId') THEN
EXECUTE $view$
CREATE OR REPLACE VIEW analyst.focus AS
SELECT
    metadata ->> 'AvailabilityZone' AS "AvailabilityZone",
    amount AS "BilledCost",
    coalesce(metadata ->> 'BillingAccountId', user_id) AS "BillingAccountId",
    metadata ->> 'BillingAccountName' AS "BillingAccountName",
    currency AS "BillingCurrency",
    coalesce(analyst.time_or_null(metadata ->> 'BillingPeriodStart'),
             date_trunc('month', occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') AS "BillingPeriodStart",
    coalesce(analyst.time_or_null(metadata ->> 'BillingPeriodEnd'),
             (date_trunc('month', occurred_at AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC')
        AS "BillingPeriodEnd",
    initcap(category) AS "ChargeCategory",
    CASE WHEN reverses_event_id IS NOT NULL OR metadata ? 'rerated_from' THEN 'Correction'
         ELSE metadata ->> 'ChargeClass' END AS "ChargeClass",
    coalesce(metadata ->> 'ChargeDescription', service || ' ' || operation) AS "ChargeDescription",
    coalesce(metadata ->> 'ChargeFrequency',
             CASE category WHEN 'USAGE' THEN 'Usage-Based' ELSE 'One-Time' END) AS "ChargeFrequency",
    occurred_at AS "ChargePeriodStart",
    coalesce(analyst.time_or_null(metadata ->> 'ChargePeriodEnd'), occurred_at + interval '1 microsecond')
        AS "ChargePeriodEnd",
    CASE WHEN category = 'USAGE' THEN quantity END AS "ConsumedQuantity",
    CASE WHEN category = 'USAGE' THEN unit END AS "ConsumedUnit",
    coalesce(analyst.numeric_or_null(metadata ->> 'ContractedCost'), amount) AS "ContractedCost",
    coalesce(analyst.numeric_or_null(metadata ->> 'ContractedUnitPrice'), unit_price) AS "ContractedUnitPrice",
    coalesce(analyst.numeric_or_null(metadata ->> 'EffectiveCost'), amount) AS "EffectiveCost",
    coalesce(metadata ->> 'InvoiceIssuerName', metadata ->> 'ProviderName', service) AS "InvoiceIssuerName",
    coalesce(analyst.numeric_or_null(metadata ->> 'ListCost'), amount) AS "ListCost",
    coalesce(analyst.numeric_or_null(metadata ->> 'ListUnitPrice'), unit_price) AS "ListUnitPrice",
    coalesce(metadata ->> 'PricingCategory', CASE WHEN category = 'USAGE' THEN 'Standard' END) AS "PricingCategory",
    coalesce(analyst.numeric_or_null(metadata ->> 'PricingQuantity'), quantity) AS "PricingQuantity",
    coalesce(metadata ->> 'PricingUnit', unit) AS "PricingUnit",
    coalesce(metadata ->> 'ProviderName', split_part(service, '-', 1)) AS "ProviderName",
    coalesce(metadata ->> 'PublisherName', metadata ->> 'ProviderName', split_part(service, '-', 1)) AS "PublisherName",
    metadata ->> 'RegionId' AS "RegionId",
    metadata ->> 'RegionName' AS "RegionName",
    metadata ->> 'ResourceId' AS "ResourceId",
    metadata ->> 'ResourceName' AS "ResourceName",
    metadata ->> 'ResourceType' AS "ResourceType",
    coalesce(metadata ->> 'ServiceCategory',
             CASE WHEN service IN ('openai', 'aws-rekognition', 'aws-transcribe', 'aws-comprehend')
                      THEN 'AI and Machine Learning'
                  WHEN service = 'aws-s3' THEN 'Storage'
                  WHEN service = 'internal' THEN 'Compute'
                  ELSE 'Other' END) AS "ServiceCategory",
    service AS "ServiceName",
    operation AS "SkuId",
    coalesce(metadata ->> 'SkuPriceId', price_version) AS "SkuPriceId",
    user_id AS "SubAccountId",
    metadata ->> 'SubAccountName' AS "SubAccountName",
    CASE WHEN metadata ? 'Tags' THEN analyst.object_or_null(metadata ->> 'Tags') ELSE metadata END AS "Tags",
    event_id AS "x_EventId",
    CASE WHEN amount IS NULL AND reverses_event_id IS NULL
             THEN NOT EXISTS (SELECT FROM ledger.entries AS r WHERE r.reverses_event_id = e.event_id)
         ELSE false END AS "x_Unpriced"
FROM ledger.entries AS e
$view$;
END IF;
END $do$;

COMMENT ON COLUMN analyst.focus."ChargeClass" IS 'Correction for an entry that takes another one back, and for one that takes its place';
COMMENT ON COLUMN analyst.focus."x_Unpriced" IS 'true where no price is known yet';
