-- A report once for its period: of two that are made at the same time the first stays.
INSERT INTO ledger.reports (kind, period_start, period_end, report_date, time_zone, complete, content, content_sha256)
VALUES (%(kind)s, %(period_start)s, %(period_end)s, %(report_date)s, %(time_zone)s, %(complete)s, %(content)s,
        %(content_sha256)s)
ON CONFLICT (kind, period_start) DO NOTHING
RETURNING content, revision, updated_at
