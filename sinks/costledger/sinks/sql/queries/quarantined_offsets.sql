SELECT "offset" FROM ledger.quarantine
WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" >= %(low)s AND "offset" < %(high)s
