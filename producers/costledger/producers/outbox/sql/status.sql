SELECT
    count(*) AS waiting,
    min(created_at) AS oldest_at,
    coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 AS oldest_seconds
FROM {table}
