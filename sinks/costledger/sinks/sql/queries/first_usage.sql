-- The first day (UTC) with usage; NULL in an empty ledger.
SELECT min(d.day) FROM ledger.daily_totals AS d
