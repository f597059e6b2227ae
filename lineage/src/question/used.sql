WITH down AS (FROM descendants(CAST($1 AS VARCHAR))),
made AS (
    SELECT key, kind, step, run, finished FROM artifacts
    UNION ALL
    SELECT key, any_value(kind), arg_max(step, run), max(run), NULL
    FROM steps WHERE key NOT IN (SELECT key FROM artifacts) GROUP BY key
)
SELECT down.depth, m.kind, m.step, m.run, left(down.key, 12) AS key, m.finished
FROM down LEFT JOIN made m USING (key)
ORDER BY down.depth, m.step, down.key
