WITH figures AS (
    SELECT s.run, s.id, s.step, r.metric, r.value
    FROM steps s JOIN results r USING (key)
    WHERE s.run IN ($1, $2) AND NOT starts_with(r.metric, 'licence/') AND NOT starts_with(r.metric, 'source/')
    UNION ALL
    SELECT run, id, step, 'cost/seconds', seconds FROM steps WHERE run IN ($1, $2) AND seconds IS NOT NULL
),
sides AS (
    SELECT min(id) AS id, step, metric, any_value(value) FILTER (run = $1) AS before, any_value(value) FILTER (run = $2) AS after
    FROM figures GROUP BY step, metric
)
SELECT step, metric, before, after, after - before AS change FROM sides ORDER BY id, step, metric
