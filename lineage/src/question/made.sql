WITH up AS (FROM ancestors(CAST($1 AS VARCHAR))),
made AS (
    SELECT key, kind, step, run, seconds, finished FROM artifacts
    UNION ALL
    SELECT key, any_value(kind), arg_max(step, run), max(run), NULL, NULL
    FROM steps WHERE key NOT IN (SELECT key FROM artifacts) GROUP BY key
),
given AS (
    SELECT key, path, value FROM artifact_params WHERE key IN (SELECT key FROM up)
    UNION
    SELECT s.key, p.path, p.value FROM steps s JOIN params p USING (run, step)
    WHERE s.key IN (SELECT key FROM up) AND s.key NOT IN (SELECT key FROM artifacts)
),
-- Lists are shown whole, not item by item.
params_of AS (
    SELECT key, string_agg(path || '=' || value, ' ' ORDER BY path) AS params
    FROM given WHERE NOT regexp_matches(path, '\.\d+(\.|$)') GROUP BY key
),
files_of AS (
    SELECT key, string_agg(path, ' ' ORDER BY position) AS files FROM inputs WHERE path IS NOT NULL GROUP BY key
)
SELECT up.depth, m.kind, m.step, m.run, left(up.key, 12) AS key, m.seconds, p.params, f.files
FROM up
LEFT JOIN made m USING (key)
LEFT JOIN params_of p USING (key)
LEFT JOIN files_of f USING (key)
ORDER BY up.depth, m.step, up.key
