-- What analysts see: views with the owner's rights, so that the role needs none on the ledger itself.
SET LOCAL ROLE costledger_owner;

-- Metadata is whatever emitters sent: a value that does not parse is null, and never breaks a query.
CREATE OR REPLACE FUNCTION analyst.numeric_or_null(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN value ~ '^[-+]?[0-9]{1,30}(\.[0-9]{1,30})?$' THEN value::numeric END
$$;

CREATE OR REPLACE FUNCTION analyst.time_or_null(value text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET timezone = 'UTC' AS $$
BEGIN
    RETURN CASE WHEN value ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]|$)' THEN value::timestamptz END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION analyst.object_or_null(value text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN jsonb_typeof(value::jsonb) = 'object' THEN value::jsonb END;
EXCEPTION WHEN data_exception THEN
    RETURN NULL;
END
$$;

CREATE OR REPLACE VIEW analyst.costs AS
SELECT e.event_id, e.user_id, coalesce(u.tier, 'default') AS tier, e.service, e.operation, e.category, e.quantity,
       e.unit, e.unit_price, e.price_version, e.amount, e.currency, e.amount IS NULL AS unpriced, e.occurred_at,
       e.received_at, e.recorded_at, e.source, e.reverses_event_id, e.metadata
FROM ledger.entries AS e
LEFT JOIN ledger.users AS u USING (user_id);

CREATE OR REPLACE VIEW analyst.costs_hourly AS
SELECT t.user_id, coalesce(u.tier, 'default') AS tier, t.service, t.operation, t.hour, t.events, t.quantity, t.amount,
       t.unpriced
FROM ledger.hourly_totals AS t
LEFT JOIN ledger.users AS u USING (user_id);

CREATE OR REPLACE VIEW analyst.costs_daily AS
SELECT t.user_id, coalesce(u.tier, 'default') AS tier, t.service, t.operation, t.day, t.events, t.quantity, t.amount,
       t.unpriced
FROM ledger.daily_totals AS t
LEFT JOIN ledger.users AS u USING (user_id);

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
    coalesce(metadata ->> 'ChargeClass', CASE WHEN reverses_event_id IS NOT NULL THEN 'Correction' END) AS "ChargeClass",
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
    amount IS NULL AS "x_Unpriced"
FROM ledger.entries
$view$;
END IF;
END $do$;

CREATE OR REPLACE VIEW analyst.budgets AS
SELECT DISTINCT ON (user_id)
       user_id, version, tier, monthly_budget, alert_thresholds, currency, time_zone, hourly_spike_limit, updated_at,
       deleted
FROM ledger.budgets
ORDER BY user_id, version DESC;

CREATE OR REPLACE VIEW analyst.alerts AS
SELECT alert_id, kind, state, severity, user_id, scope, period_start, period_end, threshold_percent, actual,
       "limit" AS limit_amount, currency, budget_version, occurred_at, raised_at, late, message, recorded_at,
       acknowledged_at, acknowledged_by, snoozed_until
FROM ledger.alerts;

-- Where a later migration has added columns, its view stays: none can be taken away.
DO $do$ BEGIN
IF NOT EXISTS (SELECT FROM pg_attribute
               WHERE attrelid = to_regclass('analyst.completeness') AND attname = 'sealed_offset') THEN
EXECUTE $view$
CREATE OR REPLACE VIEW analyst.completeness AS
SELECT topic, partition, next_offset, first_offset, consumed, inserted, duplicates, quarantined, skipped AS gaps,
       unpriced, consumed - inserted - duplicates - quarantined - skipped AS unexplained,
       last_inserted_at AS newest_recorded_at, updated_at
FROM ledger.sink_offsets
$view$;
END IF;
END $do$;

COMMENT ON VIEW analyst.costs IS 'Every cost event once, with the tier of its user today.';
COMMENT ON COLUMN analyst.costs.event_id IS 'id of the event, a UUIDv7 whose time is that of occurred_at';
COMMENT ON COLUMN analyst.costs.user_id IS 'who is charged';
COMMENT ON COLUMN analyst.costs.tier IS 'subscription tier of the user as it is now';
COMMENT ON COLUMN analyst.costs.service IS 'the paid service, for example openai';
COMMENT ON COLUMN analyst.costs.operation IS 'what was called, for example detectLabels';
COMMENT ON COLUMN analyst.costs.category IS 'USAGE, PURCHASE, TAX, CREDIT or ADJUSTMENT';
COMMENT ON COLUMN analyst.costs.quantity IS 'how much, in the unit named by unit';
COMMENT ON COLUMN analyst.costs.unit IS 'what is counted, for example token';
COMMENT ON COLUMN analyst.costs.unit_price IS 'USD per unit; null where there is no single one';
COMMENT ON COLUMN analyst.costs.price_version IS 'version of the price book that gave the amount';
COMMENT ON COLUMN analyst.costs.amount IS 'USD, exact to 1e-12; negative for credits and reversals; null: unpriced';
COMMENT ON COLUMN analyst.costs.currency IS 'always USD';
COMMENT ON COLUMN analyst.costs.unpriced IS 'true where no price was known; such an event adds nothing to any total';
COMMENT ON COLUMN analyst.costs.occurred_at IS 'when the call was made, UTC';
COMMENT ON COLUMN analyst.costs.received_at IS 'when the broker stored the event, UTC';
COMMENT ON COLUMN analyst.costs.recorded_at IS 'when the ledger got it, UTC';
COMMENT ON COLUMN analyst.costs.source IS 'the service that emitted the event';
COMMENT ON COLUMN analyst.costs.reverses_event_id IS 'the event that this entry takes back';
COMMENT ON COLUMN analyst.costs.metadata IS 'what the emitter added, a flat object of strings';

COMMENT ON VIEW analyst.costs_hourly IS 'Costs by user, service, operation and hour (UTC): use this or costs_daily for sums: they have far fewer rows.';
COMMENT ON COLUMN analyst.costs_hourly.user_id IS 'who is charged';
COMMENT ON COLUMN analyst.costs_hourly.tier IS 'subscription tier of the user as it is now';
COMMENT ON COLUMN analyst.costs_hourly.service IS 'the paid service';
COMMENT ON COLUMN analyst.costs_hourly.operation IS 'what was called';
COMMENT ON COLUMN analyst.costs_hourly.hour IS 'start of the hour in which the events occurred, UTC';
COMMENT ON COLUMN analyst.costs_hourly.events IS 'number of events';
COMMENT ON COLUMN analyst.costs_hourly.quantity IS 'sum of the quantities, in the operation''s unit';
COMMENT ON COLUMN analyst.costs_hourly.amount IS 'sum in USD of the priced events, exact';
COMMENT ON COLUMN analyst.costs_hourly.unpriced IS 'number of events without a price';

COMMENT ON VIEW analyst.costs_daily IS 'Costs by user, service, operation and day (UTC).';
COMMENT ON COLUMN analyst.costs_daily.user_id IS 'who is charged';
COMMENT ON COLUMN analyst.costs_daily.tier IS 'subscription tier of the user as it is now';
COMMENT ON COLUMN analyst.costs_daily.service IS 'the paid service';
COMMENT ON COLUMN analyst.costs_daily.operation IS 'what was called';
COMMENT ON COLUMN analyst.costs_daily.day IS 'day in which the events occurred, UTC';
COMMENT ON COLUMN analyst.costs_daily.events IS 'number of events';
COMMENT ON COLUMN analyst.costs_daily.quantity IS 'sum of the quantities, in the operation''s unit';
COMMENT ON COLUMN analyst.costs_daily.amount IS 'sum in USD of the priced events, exact';
COMMENT ON COLUMN analyst.costs_daily.unpriced IS 'number of events without a price';

COMMENT ON VIEW analyst.focus IS 'Every cost event as a row of the FinOps Open Cost and Usage Specification 1.x. What an imported bill said comes from there, the rest is derived.';
COMMENT ON COLUMN analyst.focus."AvailabilityZone" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."BilledCost" IS 'USD, exact; null where the event is unpriced';
COMMENT ON COLUMN analyst.focus."BillingAccountId" IS 'from the imported bill, else the user';
COMMENT ON COLUMN analyst.focus."BillingAccountName" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."BillingCurrency" IS 'USD';
COMMENT ON COLUMN analyst.focus."BillingPeriodStart" IS 'start of the billing month, UTC';
COMMENT ON COLUMN analyst.focus."BillingPeriodEnd" IS 'end of the billing month, exclusive, UTC';
COMMENT ON COLUMN analyst.focus."ChargeCategory" IS 'Usage, Purchase, Tax, Credit or Adjustment';
COMMENT ON COLUMN analyst.focus."ChargeClass" IS 'Correction for an entry that takes another one back';
COMMENT ON COLUMN analyst.focus."ChargeDescription" IS 'from the imported bill, else service and operation';
COMMENT ON COLUMN analyst.focus."ChargeFrequency" IS 'Usage-Based for usage, else One-Time, unless the bill says otherwise';
COMMENT ON COLUMN analyst.focus."ChargePeriodStart" IS 'when the charge occurred, UTC';
COMMENT ON COLUMN analyst.focus."ChargePeriodEnd" IS 'exclusive, UTC; a single call lasts a microsecond';
COMMENT ON COLUMN analyst.focus."ConsumedQuantity" IS 'quantity of usage; null for other categories';
COMMENT ON COLUMN analyst.focus."ConsumedUnit" IS 'unit of ConsumedQuantity';
COMMENT ON COLUMN analyst.focus."ContractedCost" IS 'from the imported bill, else BilledCost';
COMMENT ON COLUMN analyst.focus."ContractedUnitPrice" IS 'from the imported bill, else the unit price';
COMMENT ON COLUMN analyst.focus."EffectiveCost" IS 'from the imported bill, else BilledCost';
COMMENT ON COLUMN analyst.focus."InvoiceIssuerName" IS 'from the imported bill, else the provider';
COMMENT ON COLUMN analyst.focus."ListCost" IS 'from the imported bill, else BilledCost';
COMMENT ON COLUMN analyst.focus."ListUnitPrice" IS 'from the imported bill, else the unit price';
COMMENT ON COLUMN analyst.focus."PricingCategory" IS 'from the imported bill, else Standard for usage';
COMMENT ON COLUMN analyst.focus."PricingQuantity" IS 'from the imported bill, else the quantity';
COMMENT ON COLUMN analyst.focus."PricingUnit" IS 'from the imported bill, else the unit';
COMMENT ON COLUMN analyst.focus."ProviderName" IS 'from the imported bill, else the first part of the service name';
COMMENT ON COLUMN analyst.focus."PublisherName" IS 'from the imported bill, else the provider';
COMMENT ON COLUMN analyst.focus."RegionId" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."RegionName" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."ResourceId" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."ResourceName" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."ResourceType" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."ServiceCategory" IS 'from the imported bill, else by service';
COMMENT ON COLUMN analyst.focus."ServiceName" IS 'the paid service';
COMMENT ON COLUMN analyst.focus."SkuId" IS 'the operation';
COMMENT ON COLUMN analyst.focus."SkuPriceId" IS 'from the imported bill, else the version of the price book';
COMMENT ON COLUMN analyst.focus."SubAccountId" IS 'the user';
COMMENT ON COLUMN analyst.focus."SubAccountName" IS 'from the imported bill';
COMMENT ON COLUMN analyst.focus."Tags" IS 'tags of the imported bill, else all metadata of the event';
COMMENT ON COLUMN analyst.focus."x_EventId" IS 'event_id in analyst.costs';
COMMENT ON COLUMN analyst.focus."x_Unpriced" IS 'true where no price was known';

COMMENT ON VIEW analyst.budgets IS 'The newest version of each user''s own budget; users without a row have the default of their tier.';
COMMENT ON COLUMN analyst.budgets.user_id IS 'whose budget';
COMMENT ON COLUMN analyst.budgets.version IS 'counts up with each change';
COMMENT ON COLUMN analyst.budgets.tier IS 'subscription tier';
COMMENT ON COLUMN analyst.budgets.monthly_budget IS 'USD a month; null: the default of the tier';
COMMENT ON COLUMN analyst.budgets.alert_thresholds IS 'percent of the budget; null: the default';
COMMENT ON COLUMN analyst.budgets.currency IS 'always USD';
COMMENT ON COLUMN analyst.budgets.time_zone IS 'IANA zone in which days and months begin';
COMMENT ON COLUMN analyst.budgets.hourly_spike_limit IS 'USD an hour; null: the default';
COMMENT ON COLUMN analyst.budgets.updated_at IS 'when this version was set, UTC';
COMMENT ON COLUMN analyst.budgets.deleted IS 'true: taken back, the defaults are in force again';

COMMENT ON VIEW analyst.alerts IS 'Every alert that was raised, once.';
COMMENT ON COLUMN analyst.alerts.alert_id IS 'the same for the same decision';
COMMENT ON COLUMN analyst.alerts.kind IS 'BUDGET_THRESHOLD, HOURLY_SPIKE, ANOMALY, FORECAST_EXCEEDED or UNPRICED_USAGE';
COMMENT ON COLUMN analyst.alerts.state IS 'ALARM, or OK when an earlier ALARM is over';
COMMENT ON COLUMN analyst.alerts.severity IS 'INFO, WARNING or CRITICAL';
COMMENT ON COLUMN analyst.alerts.user_id IS 'whose cost';
COMMENT ON COLUMN analyst.alerts.scope IS 'total, service:<service> or operation:<service>/<operation>';
COMMENT ON COLUMN analyst.alerts.period_start IS 'start of the period, UTC';
COMMENT ON COLUMN analyst.alerts.period_end IS 'end of the period, exclusive, UTC';
COMMENT ON COLUMN analyst.alerts.threshold_percent IS 'percent of the budget that was reached; of a spike, percent of the usual hour, or null for the hourly limit';
COMMENT ON COLUMN analyst.alerts.actual IS 'USD spent in the period when the alert was raised';
COMMENT ON COLUMN analyst.alerts.limit_amount IS 'USD that was reached or passed';
COMMENT ON COLUMN analyst.alerts.currency IS 'always USD';
COMMENT ON COLUMN analyst.alerts.budget_version IS 'version of the budget; 0 is the default of the tier';
COMMENT ON COLUMN analyst.alerts.occurred_at IS 'when the event occurred that led to the alert, UTC';
COMMENT ON COLUMN analyst.alerts.raised_at IS 'when the broker received that event, UTC';
COMMENT ON COLUMN analyst.alerts.late IS 'true: the period was closed already';
COMMENT ON COLUMN analyst.alerts.message IS 'one sentence';
COMMENT ON COLUMN analyst.alerts.recorded_at IS 'when the ledger got the alert, UTC';
COMMENT ON COLUMN analyst.alerts.acknowledged_at IS 'when somebody first took note, UTC';
COMMENT ON COLUMN analyst.alerts.acknowledged_by IS 'who took note first';
COMMENT ON COLUMN analyst.alerts.snoozed_until IS 'not delivered to people before then, UTC';

COMMENT ON VIEW analyst.completeness IS 'How far the ledger is, by partition of the topic: everything below next_offset is accounted for.';
COMMENT ON COLUMN analyst.completeness.topic IS 'Kafka topic';
COMMENT ON COLUMN analyst.completeness.partition IS 'Kafka partition';
COMMENT ON COLUMN analyst.completeness.next_offset IS 'the watermark: the next offset to read';
COMMENT ON COLUMN analyst.completeness.first_offset IS 'where the ledger began';
COMMENT ON COLUMN analyst.completeness.consumed IS 'offsets accounted for';
COMMENT ON COLUMN analyst.completeness.inserted IS 'became an entry';
COMMENT ON COLUMN analyst.completeness.duplicates IS 'repeats of an event that the ledger had';
COMMENT ON COLUMN analyst.completeness.quarantined IS 'put aside with a reason';
COMMENT ON COLUMN analyst.completeness.gaps IS 'offsets that held no message';
COMMENT ON COLUMN analyst.completeness.unpriced IS 'entries without an amount';
COMMENT ON COLUMN analyst.completeness.unexplained IS 'consumed less all of these: 0, or something is wrong';
COMMENT ON COLUMN analyst.completeness.newest_recorded_at IS 'when the newest entry was recorded, UTC';
COMMENT ON COLUMN analyst.completeness.updated_at IS 'when the watermark last moved, UTC';
