WITH up AS (FROM ancestors(CAST($1 AS VARCHAR))),
held AS (
    SELECT key, step, 'licence' AS what, licence AS name, documents FROM licences
    UNION ALL
    SELECT key, step, 'source', source, documents FROM sources
)
SELECT up.depth, held.step, held.what, held.name, held.documents
FROM up JOIN held USING (key)
ORDER BY up.depth, held.step, held.what, held.documents DESC, held.name
