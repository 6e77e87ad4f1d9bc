"""The documents that routes take and give: money as decimal strings, times RFC 3339 in UTC."""
