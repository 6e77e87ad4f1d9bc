-- Entries of a period for a CSV file, in the order of their ids, which is that of time. Times are RFC 3339 in UTC.
SELECT event_id,
       to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at,
       ledger.cell(user_id, %(marked)s) AS user_id, ledger.cell(service, %(marked)s) AS service,
       ledger.cell(operation, %(marked)s) AS operation, category, quantity, ledger.cell(unit, %(marked)s) AS unit,
       unit_price, ledger.cell(price_version, %(marked)s) AS price_version, amount, currency,
       ledger.cell(source, %(marked)s) AS source, reverses_event_id,
       to_char(received_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS received_at,
       to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS recorded_at, metadata
FROM ledger.entries
WHERE event_id >= ledger.uuid7_floor(%(from)s::timestamptz - interval '1 minute')
  AND event_id < ledger.uuid7_floor(%(to)s::timestamptz + interval '1 minute')
  AND occurred_at >= %(from)s AND occurred_at < %(to)s
  AND (%(user_id)s::text IS NULL OR user_id = %(user_id)s)
ORDER BY event_id
