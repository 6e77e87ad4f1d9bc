INSERT INTO ledger.report_deliveries (kind, period_start, target_sha256, target)
VALUES (%(kind)s, %(period_start)s, %(target_sha256)s, %(target)s)
ON CONFLICT DO NOTHING
