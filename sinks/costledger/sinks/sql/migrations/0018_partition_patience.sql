-- Attaching a partition locks the DEFAULT one, for which every reader of all entries stands in the way, and while it waits everybody
-- who comes after it waits, too. So it does not wait for long: entries of such a month go to the DEFAULT partition.
SET LOCAL ROLE costledger_owner;

ALTER FUNCTION ledger.ensure_partitions(date, date) SET lock_timeout = '2s';
