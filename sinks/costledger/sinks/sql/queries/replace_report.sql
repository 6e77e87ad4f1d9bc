-- A report anew, on purpose: the next revision, which Redis does not have yet.
INSERT INTO ledger.reports AS r
    (kind, period_start, period_end, report_date, time_zone, complete, content, content_sha256)
VALUES (%(kind)s, %(period_start)s, %(period_end)s, %(report_date)s, %(time_zone)s, %(complete)s, %(content)s,
        %(content_sha256)s)
ON CONFLICT (kind, period_start) DO UPDATE
SET period_end = excluded.period_end, report_date = excluded.report_date, time_zone = excluded.time_zone,
    complete = excluded.complete, content = excluded.content, content_sha256 = excluded.content_sha256,
    revision = r.revision + 1, updated_at = now(), cached_at = NULL
RETURNING content, revision, updated_at
