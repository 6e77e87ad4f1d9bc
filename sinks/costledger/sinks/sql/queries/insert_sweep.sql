-- A sweep once for its hour. It is in no list of reports, and not in Redis.
INSERT INTO ledger.reports (kind, period_start, period_end, complete, content, content_sha256, handed_over_at)
VALUES ('sweep', %(period_start)s, %(period_end)s, %(complete)s, %(content)s, %(content_sha256)s, now())
ON CONFLICT (kind, period_start) DO NOTHING
