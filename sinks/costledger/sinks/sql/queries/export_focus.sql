-- Priced charges of a period in FOCUS's columns and formats, in the order of their ids, which is that of time. FOCUS knows
-- no parts of a second: a charge begins in the second that it fell into, and ends with it. The exact time is x_OccurredAt.
SELECT ledger.cell("AvailabilityZone", %(marked)s) AS "AvailabilityZone",
       "BilledCost",
       ledger.cell("BillingAccountId", %(marked)s) AS "BillingAccountId",
       ledger.cell("BillingAccountName", %(marked)s) AS "BillingAccountName",
       "BillingCurrency",
       to_char("BillingPeriodEnd" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "BillingPeriodEnd",
       to_char("BillingPeriodStart" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "BillingPeriodStart",
       "ChargeCategory",
       ledger.cell("ChargeClass", %(marked)s) AS "ChargeClass",
       ledger.cell("ChargeDescription", %(marked)s) AS "ChargeDescription",
       ledger.cell("ChargeFrequency", %(marked)s) AS "ChargeFrequency",
       to_char(("ChargePeriodEnd" + interval '999999 microseconds') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
           AS "ChargePeriodEnd",
       to_char("ChargePeriodStart" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "ChargePeriodStart",
       ledger.cell("CommitmentDiscountCategory", %(marked)s) AS "CommitmentDiscountCategory",
       ledger.cell("CommitmentDiscountId", %(marked)s) AS "CommitmentDiscountId",
       ledger.cell("CommitmentDiscountName", %(marked)s) AS "CommitmentDiscountName",
       ledger.cell("CommitmentDiscountStatus", %(marked)s) AS "CommitmentDiscountStatus",
       ledger.cell("CommitmentDiscountType", %(marked)s) AS "CommitmentDiscountType",
       "ConsumedQuantity",
       ledger.cell("ConsumedUnit", %(marked)s) AS "ConsumedUnit",
       "ContractedCost",
       "ContractedUnitPrice",
       "EffectiveCost",
       ledger.cell("InvoiceIssuerName", %(marked)s) AS "InvoiceIssuerName",
       "ListCost",
       "ListUnitPrice",
       ledger.cell("PricingCategory", %(marked)s) AS "PricingCategory",
       "PricingQuantity",
       ledger.cell("PricingUnit", %(marked)s) AS "PricingUnit",
       ledger.cell("ProviderName", %(marked)s) AS "ProviderName",
       ledger.cell("PublisherName", %(marked)s) AS "PublisherName",
       ledger.cell("RegionId", %(marked)s) AS "RegionId",
       ledger.cell("RegionName", %(marked)s) AS "RegionName",
       ledger.cell("ResourceId", %(marked)s) AS "ResourceId",
       ledger.cell("ResourceName", %(marked)s) AS "ResourceName",
       ledger.cell("ResourceType", %(marked)s) AS "ResourceType",
       ledger.cell("ServiceCategory", %(marked)s) AS "ServiceCategory",
       ledger.cell("ServiceName", %(marked)s) AS "ServiceName",
       ledger.cell("SkuId", %(marked)s) AS "SkuId",
       ledger.cell("SkuPriceId", %(marked)s) AS "SkuPriceId",
       ledger.cell("SubAccountId", %(marked)s) AS "SubAccountId",
       ledger.cell("SubAccountName", %(marked)s) AS "SubAccountName",
       "Tags",
       "x_EventId",
       to_char("ChargePeriodStart" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "x_OccurredAt"
FROM analyst.focus
WHERE "x_EventId" >= ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute')
  AND "x_EventId" < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND "ChargePeriodStart" >= %(from)s AND "ChargePeriodStart" < %(to)s
  AND (%(user_id)s::text IS NULL OR "SubAccountId" = %(user_id)s)
  -- A FOCUS charge has a cost. What has no price yet is none, and never 0.
  AND "BilledCost" IS NOT NULL
ORDER BY "x_EventId"
