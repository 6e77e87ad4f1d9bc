-- The sink may update every row of a page in one transaction: only with half of each page free do all these updates stay in
-- their pages (HOT) and leave the indexes alone. For pages that are written from now on.
SET LOCAL ROLE costledger_owner;

ALTER TABLE ledger.hourly_totals SET (fillfactor = 50);
ALTER TABLE ledger.daily_totals SET (fillfactor = 50);
