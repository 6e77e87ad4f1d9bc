-- Events of one UTC day, %(crowd)s of a crowd and one each hour of every heavy user and operation; numbered from %(first)s.
-- The crowd's users are skewed (of 5,000 the first has 6 %%, the first ten 13 %%), each has favourites among the
-- operations, and the hours of the day differ by a factor of three. One of 1,000 events has no price.
WITH operations AS (
    SELECT *
    FROM unnest(%(services)s::text[], %(operations)s::text[], %(units)s::text[], %(prices)s::numeric[])
        WITH ORDINALITY AS o (service, operation, unit, price, place)
), placed AS (
    SELECT i, (i + 0.5) / %(crowd)s AS place FROM generate_series(0, %(crowd)s - 1) AS i
), crowd AS (
    SELECT i, place - 0.08 * sin(2 * pi() * place) AS share, floor(%(users)s * random() ^ 3)::integer AS person,
           floor(%(count)s * random() ^ 2)::integer AS liking
    FROM placed
), events AS (
    SELECT %(first)s::bigint + i AS number, share, 'user-' || lpad(person::text, 5, '0') AS user_id,
           1 + (person * 7 + liking) %% %(count)s AS place
    FROM crowd
    UNION ALL
    SELECT %(first)s::bigint + %(crowd)s + row_number() OVER () - 1, (hour + 0.5) / 24, heavy, o.place
    FROM unnest(%(heavy)s::text[]) AS heavy, generate_series(0, 23) AS hour, operations AS o
), timed AS (
    SELECT number, user_id, place, 1 + floor(200 * random())::integer AS quantity,
           %(day)s::date::timestamp AT TIME ZONE 'UTC' + share * %(seconds)s * interval '1 second' AS at
    FROM events
)
INSERT INTO ledger.entries (event_id, occurred_at, received_at, recorded_at, kafka_topic, kafka_partition, kafka_offset,
    user_id, service, operation, unit, unit_price, price_version, quantity, amount, category, currency, source, metadata)
SELECT (lpad(to_hex(floor(extract(epoch FROM t.at) * 1000)::bigint), 12, '0') || '7'
           || lpad(to_hex(t.number %% 4096), 3, '0') || '8' || lpad(to_hex(t.number), 15, '0'))::uuid,
       t.at, t.at + interval '200 milliseconds', t.at + interval '1 second', %(topic)s, t.number %% %(partitions)s,
       t.number / %(partitions)s, t.user_id, o.service, o.operation, o.unit, o.price, 'bench', t.quantity,
       CASE WHEN t.number %% 1000 <> 0 THEN t.quantity * o.price END, 'USAGE', 'USD', 'bench', '{}'
FROM timed AS t
JOIN operations AS o USING (place)
