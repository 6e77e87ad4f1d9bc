SELECT given.price_version, given.service, given.operation, given.model, given.unit,
       kept.unit_price, kept.additions, kept.rounded_up
FROM jsonb_to_recordset(%(prices)s) AS given (
    price_version text, service text, operation text, model text, unit text, unit_price numeric,
    rounded_up boolean, additions jsonb, valid_from timestamptz
)
JOIN ledger.prices AS kept USING (price_version, service, operation, model, unit, valid_from)
WHERE (kept.unit_price, kept.additions, kept.rounded_up) IS DISTINCT FROM
      (given.unit_price, given.additions, given.rounded_up)
ORDER BY 1, 2, 3, 4, 5
