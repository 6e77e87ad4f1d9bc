-- Exports: the FOCUS view gets the columns that it lacked and loses what no bill said; text that spreadsheets take for
-- formulas can be marked; the writer may read the view.
SET LOCAL ROLE costledger_owner;

-- Such a text gets one more apostrophe in front: taking one away from texts that match gives back what was there.
CREATE OR REPLACE FUNCTION ledger.cell(value text, marked boolean) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN marked AND value ~ E'^''*[=+\\-@\t\r\n＝＋－＠]' THEN '''' || value ELSE value END
$$;
COMMENT ON FUNCTION ledger.cell IS
    'A text for a cell of a CSV file; where marked, what a spreadsheet would run as a formula gets an apostrophe in front.';

-- They catch errors, which takes a subtransaction, and none can be begun in a parallel plan: a query of this view over a
-- large ledger would fail. And without a value there is nothing to parse.
ALTER FUNCTION analyst.time_or_null(text) STRICT PARALLEL UNSAFE;
ALTER FUNCTION analyst.object_or_null(text) STRICT PARALLEL UNSAFE;

-- As before, but: no SKU, price or pricing quantity of a tax; no SKU that is only the name of the category, which an
-- import puts where a bill has none; commitment discounts of imported bills, at the end (a view can only be added to).
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
    CASE WHEN category <> 'TAX'
         THEN coalesce(analyst.numeric_or_null(metadata ->> 'ContractedUnitPrice'), unit_price) END
        AS "ContractedUnitPrice",
    coalesce(analyst.numeric_or_null(metadata ->> 'EffectiveCost'), amount) AS "EffectiveCost",
    coalesce(metadata ->> 'InvoiceIssuerName', metadata ->> 'ProviderName', service) AS "InvoiceIssuerName",
    coalesce(analyst.numeric_or_null(metadata ->> 'ListCost'), amount) AS "ListCost",
    CASE WHEN category <> 'TAX'
         THEN coalesce(analyst.numeric_or_null(metadata ->> 'ListUnitPrice'), unit_price) END AS "ListUnitPrice",
    CASE WHEN category <> 'TAX'
         THEN coalesce(metadata ->> 'PricingCategory', CASE WHEN category = 'USAGE' THEN 'Standard' END) END
        AS "PricingCategory",
    CASE WHEN category <> 'TAX'
         THEN coalesce(analyst.numeric_or_null(metadata ->> 'PricingQuantity'), quantity) END AS "PricingQuantity",
    CASE WHEN category <> 'TAX' THEN coalesce(metadata ->> 'PricingUnit', unit) END AS "PricingUnit",
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
    CASE WHEN category <> 'TAX' THEN nullif(operation, lower(category)) END AS "SkuId",
    CASE WHEN category <> 'TAX' THEN coalesce(metadata ->> 'SkuPriceId', price_version) END AS "SkuPriceId",
    user_id AS "SubAccountId",
    metadata ->> 'SubAccountName' AS "SubAccountName",
    CASE WHEN metadata ? 'Tags' THEN analyst.object_or_null(metadata ->> 'Tags') ELSE metadata END AS "Tags",
    event_id AS "x_EventId",
    CASE WHEN amount IS NULL AND reverses_event_id IS NULL
             THEN NOT EXISTS (SELECT FROM ledger.entries AS r WHERE r.reverses_event_id = e.event_id)
         ELSE false END AS "x_Unpriced",
    metadata ->> 'CommitmentDiscountCategory' AS "CommitmentDiscountCategory",
    metadata ->> 'CommitmentDiscountId' AS "CommitmentDiscountId",
    metadata ->> 'CommitmentDiscountName' AS "CommitmentDiscountName",
    metadata ->> 'CommitmentDiscountStatus' AS "CommitmentDiscountStatus",
    metadata ->> 'CommitmentDiscountType' AS "CommitmentDiscountType"
FROM ledger.entries AS e;

COMMENT ON COLUMN analyst.focus."ContractedUnitPrice" IS 'from the imported bill, else the unit price; null for taxes';
COMMENT ON COLUMN analyst.focus."ListUnitPrice" IS 'from the imported bill, else the unit price; null for taxes';
COMMENT ON COLUMN analyst.focus."PricingCategory" IS 'from the imported bill, else Standard for usage; null for taxes';
COMMENT ON COLUMN analyst.focus."PricingQuantity" IS 'from the imported bill, else the quantity; null for taxes';
COMMENT ON COLUMN analyst.focus."PricingUnit" IS 'from the imported bill, else the unit; null for taxes';
COMMENT ON COLUMN analyst.focus."SkuId" IS 'the operation; null for taxes, and where the imported bill had none';
COMMENT ON COLUMN analyst.focus."SkuPriceId" IS 'from the imported bill, else the version of the price book; null for taxes';
COMMENT ON COLUMN analyst.focus."CommitmentDiscountCategory" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."CommitmentDiscountId" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."CommitmentDiscountName" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."CommitmentDiscountStatus" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."CommitmentDiscountType" IS 'from the imported bill';

REVOKE ALL ON FUNCTION ledger.cell(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.cell(text, boolean) TO costledger_writer;
-- Functions in a view run with the rights of who asks.
GRANT USAGE ON SCHEMA analyst TO costledger_writer;
GRANT SELECT ON analyst.focus TO costledger_writer;
GRANT EXECUTE ON FUNCTION analyst.numeric_or_null(text), analyst.time_or_null(text), analyst.object_or_null(text)
    TO costledger_writer;
