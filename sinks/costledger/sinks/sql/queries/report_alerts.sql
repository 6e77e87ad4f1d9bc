-- How many alerts were raised in a period, by kind; those that say that an earlier one is over are none.
SELECT a.kind, count(*)
FROM ledger.alerts AS a
WHERE a.raised_at >= %(start)s AND a.raised_at < %(end)s AND a.state = 'ALARM'
GROUP BY a.kind
ORDER BY a.kind
