-- The largest amount of one event, in both roll-ups. What takes an event back has no part in it, and lowers no maximum.
SET LOCAL ROLE costledger_owner;

ALTER TABLE ledger.hourly_totals ADD COLUMN IF NOT EXISTS max_amount numeric;
ALTER TABLE ledger.daily_totals ADD COLUMN IF NOT EXISTS max_amount numeric;

COMMENT ON COLUMN ledger.hourly_totals.max_amount IS
    'USD: the largest amount ever recorded for one event, also if taken back later; null: none had an amount';
COMMENT ON COLUMN ledger.daily_totals.max_amount IS
    'USD: the largest amount ever recorded for one event, also if taken back later; null: none had an amount';

-- No entry comes while the maxima are looked for; sinks wait, and try again. (A sink of an earlier release must not go on
-- afterwards: it would leave them out.)
LOCK TABLE ledger.entries IN SHARE MODE;

WITH told AS (
    SELECT user_id, service, operation, date_trunc('hour', occurred_at, 'UTC') AS hour, max(amount) AS max_amount
    FROM ledger.entries
    WHERE amount IS NOT NULL AND reverses_event_id IS NULL
    GROUP BY 1, 2, 3, 4
)
UPDATE ledger.hourly_totals AS kept
SET max_amount = told.max_amount
FROM told
WHERE (kept.user_id, kept.service, kept.operation, kept.hour) = (told.user_id, told.service, told.operation, told.hour)
  AND kept.max_amount IS DISTINCT FROM told.max_amount;

WITH told AS (
    SELECT user_id, service, operation, (hour AT TIME ZONE 'UTC')::date AS day, max(max_amount) AS max_amount
    FROM ledger.hourly_totals
    WHERE max_amount IS NOT NULL
    GROUP BY 1, 2, 3, 4
)
UPDATE ledger.daily_totals AS kept
SET max_amount = told.max_amount
FROM told
WHERE (kept.user_id, kept.service, kept.operation, kept.day) = (told.user_id, told.service, told.operation, told.day)
  AND kept.max_amount IS DISTINCT FROM told.max_amount;
