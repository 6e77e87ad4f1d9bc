-- Those of some event ids that the ledger has.
SELECT e.event_id::text
FROM ledger.entries AS e
WHERE e.event_id = ANY (%(event_ids)s::uuid[])
