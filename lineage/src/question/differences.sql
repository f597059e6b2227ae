WITH facts AS (
    SELECT run, '(recipe)' AS step, name AS param, value FROM settings
    UNION ALL
    SELECT run, step, '(kind)', kind FROM steps
    UNION ALL
    SELECT run, step, '(version)', CAST(version AS VARCHAR) FROM steps
    UNION ALL
    SELECT run, step, path, value FROM params
),
a AS (FROM facts WHERE run = $1),
b AS (FROM facts WHERE run = $2),
shared AS (SELECT step FROM a INTERSECT SELECT step FROM b)
SELECT coalesce(a.step, b.step) AS step, coalesce(a.param, b.param) AS param, a.value AS before, b.value AS after
FROM a FULL JOIN b ON a.step = b.step AND a.param = b.param
-- Of a step that only one run has, only the kind is told.
WHERE a.value IS DISTINCT FROM b.value
    AND (coalesce(a.step, b.step) IN (FROM shared) OR coalesce(a.param, b.param) = '(kind)')
ORDER BY ALL
