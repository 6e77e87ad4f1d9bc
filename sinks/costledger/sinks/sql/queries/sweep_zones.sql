-- The zones in which users have their hours.
SELECT DISTINCT u.time_zone FROM ledger.users AS u
