WITH spent AS (SELECT step, sum(seconds) AS seconds FROM executions WHERE run = $1 GROUP BY step),
figures AS (
    SELECT key, max(value) FILTER (metric = 'cost/tokens') AS tokens, max(value) FILTER (metric = 'cost/flops') AS flops
    FROM results WHERE starts_with(metric, 'cost/') GROUP BY key
),
costs AS (
    SELECT s.id, s.step, s.kind, s.state, s.hit, e.seconds, CASE WHEN s.hit THEN s.seconds END AS saved_seconds,
        CASE WHEN NOT s.hit THEN f.tokens END AS tokens, CASE WHEN NOT s.hit THEN f.flops END AS flops, s.bytes
    FROM steps s LEFT JOIN spent e USING (step) LEFT JOIN figures f USING (key)
    WHERE s.run = $1 AND s.state <> 'unwanted'
    UNION ALL BY NAME
    SELECT e.id, 'total' AS step FROM (SELECT max(id) + 1 AS id FROM steps WHERE run = $1) e WHERE e.id IS NOT NULL
),
total AS (
    SELECT sum(seconds) AS seconds, sum(saved_seconds) AS saved, sum(tokens) AS tokens, sum(flops) AS flops,
        CAST(sum(bytes) AS BIGINT) AS bytes
    FROM costs
)
SELECT c.step, c.kind, c.state, c.hit,
    CASE WHEN c.kind IS NULL THEN t.seconds ELSE c.seconds END AS seconds,
    CASE WHEN c.kind IS NULL THEN t.saved ELSE c.saved_seconds END AS saved_seconds,
    TRY_CAST(CASE WHEN c.kind IS NULL THEN t.tokens ELSE c.tokens END AS BIGINT) AS tokens,
    CASE WHEN c.kind IS NULL THEN t.flops ELSE c.flops END AS flops,
    CASE WHEN c.kind IS NULL THEN t.bytes ELSE c.bytes END AS bytes
FROM costs c CROSS JOIN total t
ORDER BY c.id
