-- The public interface: views over the tables, and macros. Comments are what `describe` and the shell show.
-- Everywhere `step` is the step's name and `key` names what was asked; (run, step) and key join the views.

CREATE VIEW runs AS
WITH counted AS (
    SELECT run,
        count(*) FILTER (event = 'step_finished' AND NOT hit) AS executed,
        count(*) FILTER (event = 'step_finished' AND hit) AS hits,
        count(*) FILTER (event = 'step_failed') AS failed
    FROM raw.events GROUP BY run
)
SELECT j.run, r.recipe, r.recipe_digest, coalesce(e.status, 'running') AS status, r.started, e.time AS finished,
    coalesce(e.seconds, date_diff('millisecond', r.started, j.seen) / 1000) AS seconds,
    coalesce(e.executed, c.executed, 0) AS executed, coalesce(e.hits, c.hits, 0) AS hits,
    coalesce(e.failed, c.failed, 0) AS failed, r.program, r.host, r.pid, r.device, r.threads, r.memory_mib, j.seen
FROM raw.journals j LEFT JOIN raw.runs r USING (run) LEFT JOIN raw.run_ends e USING (run) LEFT JOIN counted c USING (run);
COMMENT ON VIEW runs IS 'One row for each run that has a journal.';
COMMENT ON COLUMN runs.run IS 'Name of the run.';
COMMENT ON COLUMN runs.recipe IS 'Path of the recipe as the user gave it.';
COMMENT ON COLUMN runs.recipe_digest IS 'Digest of the recipe and of everything it imported.';
COMMENT ON COLUMN runs.status IS 'running, succeeded, failed or interrupted; a run that was killed stays running.';
COMMENT ON COLUMN runs.started IS 'When it began, UTC.';
COMMENT ON COLUMN runs.finished IS 'When it ended, UTC; null while it runs.';
COMMENT ON COLUMN runs.seconds IS 'Wall seconds; of an unfinished run up to its last event.';
COMMENT ON COLUMN runs.executed IS 'Steps executed.';
COMMENT ON COLUMN runs.hits IS 'Steps found in the store.';
COMMENT ON COLUMN runs.failed IS 'Steps that failed.';
COMMENT ON COLUMN runs.program IS 'Version of the program.';
COMMENT ON COLUMN runs.host IS 'Host name.';
COMMENT ON COLUMN runs.pid IS 'Process id on that host.';
COMMENT ON COLUMN runs.device IS 'Device that tensors computed on.';
COMMENT ON COLUMN runs.threads IS 'Threads the run could use.';
COMMENT ON COLUMN runs.memory_mib IS 'Memory the run could use, in MiB.';
COMMENT ON COLUMN runs.seen IS 'Time of its last event read so far, UTC.';

CREATE VIEW settings AS SELECT run, name, value, number, type FROM raw.settings;
COMMENT ON VIEW settings IS 'Recipe parameters of each run, set by the user or defaulted.';
COMMENT ON COLUMN settings.run IS 'Run.';
COMMENT ON COLUMN settings.name IS 'Name of the parameter.';
COMMENT ON COLUMN settings.value IS 'Value as text.';
COMMENT ON COLUMN settings.number IS 'Value as a number, where it is one.';
COMMENT ON COLUMN settings.type IS 'integer, number, string, bool, list, map, closure or nothing.';

CREATE VIEW steps AS
WITH folded AS (
    SELECT run, step, arg_max(event, seq) AS last, arg_max(key, seq) AS key, arg_max(digest, seq) AS digest,
        arg_max(hit, seq) AS hit, min(time) FILTER (event = 'step_started') AS started,
        max(time) FILTER (event IN ('step_finished', 'step_failed', 'step_interrupted')) AS finished,
        arg_max(seconds, seq) AS seconds, arg_max(bytes, seq) AS bytes, arg_max(blocker, seq) AS blocker,
        arg_max(text, seq) FILTER (event = 'step_failed') AS error
    FROM raw.events WHERE step IS NOT NULL AND event <> 'log' GROUP BY run, step
)
SELECT s.run, s.name AS step, s.step AS id, s.kind, s.version, s.plan_id, f.key,
    CASE f.last
        WHEN 'step_finished' THEN 'done'
        WHEN 'step_failed' THEN 'failed'
        WHEN 'step_blocked' THEN 'blocked'
        WHEN 'step_interrupted' THEN 'interrupted'
        WHEN 'step_started' THEN CASE WHEN e.status IS NULL THEN 'running' ELSE 'interrupted' END
        WHEN 'step_keyed' THEN 'ready'
        ELSE CASE WHEN s.wanted THEN 'waiting' ELSE 'unwanted' END
    END AS state,
    f.hit, f.digest, f.started, f.finished, f.seconds, f.bytes, s.site, s.place, s.cpus, s.memory_mib,
    coalesce(f.error, 'step `' || b.name || '` failed') AS error
FROM raw.steps s
LEFT JOIN folded f USING (run, step)
LEFT JOIN raw.run_ends e USING (run)
LEFT JOIN raw.steps b ON b.run = s.run AND b.step = f.blocker;
COMMENT ON VIEW steps IS 'One row for each step of each run, with what the run has found out about it so far.';
COMMENT ON COLUMN steps.run IS 'Run.';
COMMENT ON COLUMN steps.step IS 'Name of the step, unique in its run.';
COMMENT ON COLUMN steps.id IS 'Position in the plan, from 0.';
COMMENT ON COLUMN steps.kind IS 'Kind of step.';
COMMENT ON COLUMN steps.version IS 'VERSION of the kind.';
COMMENT ON COLUMN steps.plan_id IS 'Name of the declaration, known before anything runs.';
COMMENT ON COLUMN steps.key IS 'Key; null until the inputs are known.';
COMMENT ON COLUMN steps.state IS 'unwanted, waiting, ready, running, done, failed, blocked or interrupted.';
COMMENT ON COLUMN steps.hit IS 'Whether the store had it.';
COMMENT ON COLUMN steps.digest IS 'Digest of the artifact.';
COMMENT ON COLUMN steps.started IS 'When this run began to execute it, UTC; null for a hit.';
COMMENT ON COLUMN steps.finished IS 'When it was done, failed or stopped, UTC.';
COMMENT ON COLUMN steps.seconds IS 'Wall seconds of the execution; for a hit, of the one that made it.';
COMMENT ON COLUMN steps.bytes IS 'Size of the artifact.';
COMMENT ON COLUMN steps.site IS 'Where it was declared: file:line:column.';
COMMENT ON COLUMN steps.place IS 'Where it runs: a thread, a child process, a batch job.';
COMMENT ON COLUMN steps.cpus IS 'Most threads it uses.';
COMMENT ON COLUMN steps.memory_mib IS 'Memory it needs, in MiB.';
COMMENT ON COLUMN steps.error IS 'Why it failed or is blocked.';

CREATE VIEW edges AS
SELECT e.run, s.name AS step, e.position, e.port, i.name AS source, e.path
FROM raw.edges e JOIN raw.steps s USING (run, step) LEFT JOIN raw.steps i ON i.run = e.run AND i.step = e.source;
COMMENT ON VIEW edges IS 'The graph of each run as declared: what each step consumes.';
COMMENT ON COLUMN edges.run IS 'Run.';
COMMENT ON COLUMN edges.step IS 'The consuming step.';
COMMENT ON COLUMN edges.position IS 'Position among its inputs, from 0; files from outside come last.';
COMMENT ON COLUMN edges.port IS 'Port.';
COMMENT ON COLUMN edges.source IS 'The step consumed; null for a file from outside.';
COMMENT ON COLUMN edges.path IS 'The file consumed; null for a step.';

CREATE VIEW outputs AS
SELECT o.run, o.name, s.step, s.kind, s.key, s.digest, s.state
FROM raw.outputs o JOIN steps s ON s.run = o.run AND s.id = o.step;
COMMENT ON VIEW outputs IS 'Declared outputs of each run.';
COMMENT ON COLUMN outputs.run IS 'Run.';
COMMENT ON COLUMN outputs.name IS 'Name of the output.';
COMMENT ON COLUMN outputs.step IS 'Step whose artifact it is.';
COMMENT ON COLUMN outputs.kind IS 'Kind of that step.';
COMMENT ON COLUMN outputs.key IS 'Key of that step.';
COMMENT ON COLUMN outputs.digest IS 'Digest of the artifact.';
COMMENT ON COLUMN outputs.state IS 'State of that step.';

CREATE VIEW executions AS
WITH marks AS (
    SELECT run, step, time, event, key, threads, resumed, lead(event) OVER w AS next_event, lead(time) OVER w AS next_time,
        lead(seconds) OVER w AS next_seconds
    FROM raw.events WHERE event IN ('step_started', 'step_finished', 'step_failed', 'step_interrupted')
    WINDOW w AS (PARTITION BY run, step ORDER BY seq)
)
SELECT m.key, m.run, s.name AS step, s.kind, m.time AS started, m.next_time AS finished,
    coalesce(m.next_seconds, date_diff('millisecond', m.time, coalesce(m.next_time, e.time, j.seen)) / 1000) AS seconds,
    m.threads, m.resumed,
    CASE m.next_event
        WHEN 'step_finished' THEN 'done'
        WHEN 'step_failed' THEN 'failed'
        WHEN 'step_interrupted' THEN 'interrupted'
        WHEN 'step_started' THEN 'interrupted'
        ELSE CASE WHEN e.status IS NULL THEN 'running' ELSE 'interrupted' END
    END AS outcome
FROM marks m
JOIN raw.steps s USING (run, step)
JOIN raw.journals j USING (run)
LEFT JOIN raw.run_ends e USING (run)
WHERE m.event = 'step_started';
COMMENT ON VIEW executions IS 'One row for each time a step was really executed; hits are not here.';
COMMENT ON COLUMN executions.key IS 'Key that was executed.';
COMMENT ON COLUMN executions.run IS 'Run.';
COMMENT ON COLUMN executions.step IS 'Name of the step.';
COMMENT ON COLUMN executions.kind IS 'Kind of step.';
COMMENT ON COLUMN executions.started IS 'When it began, UTC.';
COMMENT ON COLUMN executions.finished IS 'When it ended, UTC; null while it runs.';
COMMENT ON COLUMN executions.seconds IS 'Wall seconds; while it runs, up to the last event of the run.';
COMMENT ON COLUMN executions.threads IS 'Threads it had.';
COMMENT ON COLUMN executions.resumed IS 'Whether it went on from saved progress.';
COMMENT ON COLUMN executions.outcome IS 'running, done, failed or interrupted.';

CREATE VIEW reasons AS
SELECT r.run, s.name AS step, s.kind, r.position, r.what, r.path, r.before, r.after
FROM raw.reasons r JOIN raw.steps s USING (run, step);
COMMENT ON VIEW reasons IS 'Why a step was not found in the store: what differs from its last execution under this name.';
COMMENT ON COLUMN reasons.run IS 'Run.';
COMMENT ON COLUMN reasons.step IS 'Name of the step.';
COMMENT ON COLUMN reasons.kind IS 'Kind of step.';
COMMENT ON COLUMN reasons.position IS 'Order of the differences, from 0.';
COMMENT ON COLUMN reasons.what IS 'param, input, version, kind or format; first when it never ran under this name.';
COMMENT ON COLUMN reasons.path IS 'Dotted path of the parameter, or the port.';
COMMENT ON COLUMN reasons.before IS 'Value or digest then; null when it was absent.';
COMMENT ON COLUMN reasons.after IS 'Value or digest now; null when it is absent.';

CREATE VIEW events AS
SELECT e.run, e.seq, e.time, e.event, s.name AS step,
    CASE WHEN e.blocker IS NULL THEN e.text ELSE 'step `' || b.name || '` failed' END AS text
FROM raw.events e
LEFT JOIN raw.steps s USING (run, step)
LEFT JOIN raw.steps b ON b.run = e.run AND b.step = e.blocker;
COMMENT ON VIEW events IS 'The journals in words; metrics, progress and machine have views of their own.';
COMMENT ON COLUMN events.run IS 'Run.';
COMMENT ON COLUMN events.seq IS 'Position in the run, from 0.';
COMMENT ON COLUMN events.time IS 'When, UTC.';
COMMENT ON COLUMN events.event IS 'run_started, step_keyed, step_started, log, step_finished, step_failed, step_retried (seconds: the wait), step_accepted (text: the key it was made for), step_blocked, step_interrupted, run_finished.';
COMMENT ON COLUMN events.step IS 'Name of the step; null for events of the whole run.';
COMMENT ON COLUMN events.text IS 'Line of a log, error, reasons for a miss, status.';

CREATE VIEW progress AS
SELECT run, step, time, done, total, unit FROM raw.progress;
COMMENT ON VIEW progress IS 'How far each step was, over time.';
COMMENT ON COLUMN progress.run IS 'Run.';
COMMENT ON COLUMN progress.step IS 'Name of the step.';
COMMENT ON COLUMN progress.time IS 'When, UTC.';
COMMENT ON COLUMN progress.done IS 'Work done, in units.';
COMMENT ON COLUMN progress.total IS 'All work, if known.';
COMMENT ON COLUMN progress.unit IS 'tokens, documents, ...';

CREATE VIEW metrics AS
SELECT run, step, kind, iteration, metric, value, time FROM raw.metrics;
COMMENT ON VIEW metrics IS 'Measurements that steps take as they go, such as the loss, in the order they were taken.';
COMMENT ON COLUMN metrics.run IS 'Run.';
COMMENT ON COLUMN metrics.step IS 'Name of the step.';
COMMENT ON COLUMN metrics.kind IS 'Kind of step.';
COMMENT ON COLUMN metrics.iteration IS 'The step''s own abscissa, mostly optimiser steps.';
COMMENT ON COLUMN metrics.metric IS 'Name, such as train/CE loss.';
COMMENT ON COLUMN metrics.value IS 'Value.';
COMMENT ON COLUMN metrics.time IS 'When, UTC.';

CREATE VIEW machine AS SELECT run, time, cpu_percent, memory_mib, memory_total_mib, load FROM raw.machine;
COMMENT ON VIEW machine IS 'Load of the machine while a run went on.';
COMMENT ON COLUMN machine.run IS 'Run.';
COMMENT ON COLUMN machine.time IS 'When, UTC.';
COMMENT ON COLUMN machine.cpu_percent IS 'Share of all cores in use, 0 to 100.';
COMMENT ON COLUMN machine.memory_mib IS 'Memory in use, in MiB.';
COMMENT ON COLUMN machine.memory_total_mib IS 'Memory there is, in MiB.';
COMMENT ON COLUMN machine.load IS 'Load average over one minute.';

CREATE VIEW gpus AS SELECT run, time, gpu, name, percent, memory_mib, memory_total_mib FROM raw.gpus;
COMMENT ON VIEW gpus IS 'Load of the GPUs while a run went on.';
COMMENT ON COLUMN gpus.run IS 'Run.';
COMMENT ON COLUMN gpus.time IS 'When, UTC.';
COMMENT ON COLUMN gpus.gpu IS 'Position, from 0.';
COMMENT ON COLUMN gpus.name IS 'Name of the GPU.';
COMMENT ON COLUMN gpus.percent IS 'Utilisation, 0 to 100.';
COMMENT ON COLUMN gpus.memory_mib IS 'Memory in use, in MiB.';
COMMENT ON COLUMN gpus.memory_total_mib IS 'Memory there is, in MiB.';

CREATE VIEW artifacts AS
SELECT key, digest, kind, version, bytes, files, run, step, finished, seconds, host, device, threads, program
FROM raw.artifacts;
COMMENT ON VIEW artifacts IS 'One row for each artifact of the store, with the execution that made it.';
COMMENT ON COLUMN artifacts.key IS 'Key: what was asked.';
COMMENT ON COLUMN artifacts.digest IS 'Digest: what came out.';
COMMENT ON COLUMN artifacts.kind IS 'Kind of step.';
COMMENT ON COLUMN artifacts.version IS 'VERSION of the kind.';
COMMENT ON COLUMN artifacts.bytes IS 'Size.';
COMMENT ON COLUMN artifacts.files IS 'Number of files.';
COMMENT ON COLUMN artifacts.run IS 'Run that made it.';
COMMENT ON COLUMN artifacts.step IS 'Name of the step in that run.';
COMMENT ON COLUMN artifacts.finished IS 'When it was committed, UTC.';
COMMENT ON COLUMN artifacts.seconds IS 'Wall seconds of all attempts that made it.';
COMMENT ON COLUMN artifacts.host IS 'Host name.';
COMMENT ON COLUMN artifacts.device IS 'Device, for steps that compute with tensors.';
COMMENT ON COLUMN artifacts.threads IS 'Threads it had.';
COMMENT ON COLUMN artifacts.program IS 'Version of the program.';

CREATE VIEW files AS SELECT key, digest, path, bytes, file_digest FROM raw.files;
COMMENT ON VIEW files IS 'Files of each artifact.';
COMMENT ON COLUMN files.key IS 'Key of the artifact.';
COMMENT ON COLUMN files.digest IS 'Digest of the artifact.';
COMMENT ON COLUMN files.path IS 'Path inside the artifact.';
COMMENT ON COLUMN files.bytes IS 'Size.';
COMMENT ON COLUMN files.file_digest IS 'Digest of the file.';

CREATE VIEW inputs AS
SELECT key, position, port, producer, digest, path FROM raw.inputs
UNION ALL
SELECT DISTINCT s.key, e.position, e.port, i.key, i.digest, e.path
FROM steps s
JOIN raw.edges e ON e.run = s.run AND e.step = s.id
LEFT JOIN steps i ON i.run = e.run AND i.id = e.source
WHERE s.key IS NOT NULL AND s.key NOT IN (SELECT key FROM raw.artifacts);
COMMENT ON VIEW inputs IS 'What each key consumed: of artifacts from their manifests, of steps not done from the run''s graph.';
COMMENT ON COLUMN inputs.key IS 'Key of the consumer.';
COMMENT ON COLUMN inputs.position IS 'Position among its inputs, from 0.';
COMMENT ON COLUMN inputs.port IS 'Port.';
COMMENT ON COLUMN inputs.producer IS 'Key of the step that made the input; null for a file from outside.';
COMMENT ON COLUMN inputs.digest IS 'Digest of the input.';
COMMENT ON COLUMN inputs.path IS 'Path of a file from outside; null otherwise.';

CREATE VIEW params AS
SELECT s.run, s.name AS step, s.kind, p.path, p.value, p.number, p.type
FROM raw.steps s JOIN raw.params p USING (params);
COMMENT ON VIEW params IS 'Parameters of every step of every run, defaults filled in.';
COMMENT ON COLUMN params.run IS 'Run.';
COMMENT ON COLUMN params.step IS 'Name of the step.';
COMMENT ON COLUMN params.kind IS 'Kind of step.';
COMMENT ON COLUMN params.path IS 'Dotted path; items of lists of maps are numbered from 0.';
COMMENT ON COLUMN params.value IS 'Value as text.';
COMMENT ON COLUMN params.number IS 'Value as a number, where it is one.';
COMMENT ON COLUMN params.type IS 'integer, number, string, bool, list, map, closure or nothing.';

CREATE VIEW artifact_params AS
SELECT a.key, a.kind, p.path, p.value, p.number, p.type FROM raw.artifacts a JOIN raw.params p USING (params);
COMMENT ON VIEW artifact_params IS 'Parameters of every artifact of the store, from its preimage.';
COMMENT ON COLUMN artifact_params.key IS 'Key of the artifact.';
COMMENT ON COLUMN artifact_params.kind IS 'Kind of step.';
COMMENT ON COLUMN artifact_params.path IS 'Dotted path; items of lists of maps are numbered from 0.';
COMMENT ON COLUMN artifact_params.value IS 'Value as text.';
COMMENT ON COLUMN artifact_params.number IS 'Value as a number, where it is one.';
COMMENT ON COLUMN artifact_params.type IS 'integer, number, string, bool, list, map, closure or nothing.';

CREATE VIEW results AS
SELECT r.key, a.kind, a.run, a.step, r.metric, r.value FROM raw.results r JOIN raw.artifacts a USING (key)
UNION ALL
SELECT c.key, s.kind, c.run, s.name, c.metric, c.value
FROM raw.closing c JOIN raw.steps s USING (run, step)
WHERE c.key NOT IN (SELECT key FROM raw.artifacts)
QUALIFY row_number() OVER (PARTITION BY c.key, c.metric ORDER BY c.run DESC, c.seq DESC) = 1;
COMMENT ON VIEW results IS 'Closing figures of each artifact, such as eval/accuracy or cost/tokens.';
COMMENT ON COLUMN results.key IS 'Key of the artifact.';
COMMENT ON COLUMN results.kind IS 'Kind of step.';
COMMENT ON COLUMN results.run IS 'Run that made it.';
COMMENT ON COLUMN results.step IS 'Name of the step in that run.';
COMMENT ON COLUMN results.metric IS 'Name of the figure.';
COMMENT ON COLUMN results.value IS 'Value.';

CREATE VIEW licences AS
SELECT key, step, substr(metric, 9) AS licence, CAST(value AS BIGINT) AS documents
FROM results WHERE starts_with(metric, 'licence/') AND isfinite(value);
COMMENT ON VIEW licences IS 'Licences of the documents in each artifact that holds documents.';
COMMENT ON COLUMN licences.key IS 'Key of the artifact.';
COMMENT ON COLUMN licences.step IS 'Name of the step that made it.';
COMMENT ON COLUMN licences.licence IS 'Licence.';
COMMENT ON COLUMN licences.documents IS 'Number of documents under it.';

CREATE VIEW sources AS
SELECT key, step, substr(metric, 8) AS source, CAST(value AS BIGINT) AS documents
FROM results WHERE starts_with(metric, 'source/') AND isfinite(value);
COMMENT ON VIEW sources IS 'Sources of the documents in each artifact that holds documents.';
COMMENT ON COLUMN sources.key IS 'Key of the artifact.';
COMMENT ON COLUMN sources.step IS 'Name of the step that made it.';
COMMENT ON COLUMN sources.source IS 'Source.';
COMMENT ON COLUMN sources.documents IS 'Number of documents from it.';

CREATE VIEW ancestors AS
WITH RECURSIVE links AS MATERIALIZED (SELECT DISTINCT key, producer FROM inputs WHERE producer IS NOT NULL),
up(key, ancestor, depth) AS (
    SELECT key, producer, 1 FROM links
    UNION
    SELECT up.key, links.producer, up.depth + 1 FROM up JOIN links ON links.key = up.ancestor
)
SELECT key, ancestor, min(depth) AS depth FROM up GROUP BY key, ancestor;
COMMENT ON VIEW ancestors IS 'Every key with all keys it was made from. For one key, the macro ancestors(''...'') is faster.';
COMMENT ON COLUMN ancestors.key IS 'Key.';
COMMENT ON COLUMN ancestors.ancestor IS 'A key upstream of it.';
COMMENT ON COLUMN ancestors.depth IS 'Steps between them on the shortest way; 1 for a direct input.';

CREATE VIEW descendants AS SELECT ancestor AS key, key AS descendant, depth FROM ancestors;
COMMENT ON VIEW descendants IS 'Every key with all keys made from it.';
COMMENT ON COLUMN descendants.key IS 'Key.';
COMMENT ON COLUMN descendants.descendant IS 'A key downstream of it.';
COMMENT ON COLUMN descendants.depth IS 'Steps between them on the shortest way; 1 for a direct consumer.';

CREATE VIEW warnings AS SELECT run, path, line, text FROM raw.warnings;
COMMENT ON VIEW warnings IS 'Lines of journals that could not be read and were left out.';
COMMENT ON COLUMN warnings.run IS 'Run.';
COMMENT ON COLUMN warnings.path IS 'The journal.';
COMMENT ON COLUMN warnings.line IS 'Line, from 1.';
COMMENT ON COLUMN warnings.text IS 'What is wrong with it.';

-- A step's name means its key in the newest run that knows it; otherwise the first digits of a key or of a digest.
CREATE MACRO find(of_what) AS TABLE
WITH named AS (
    SELECT s.key FROM steps s JOIN runs r USING (run)
    WHERE s.step = of_what AND s.key IS NOT NULL ORDER BY r.started DESC, s.run DESC LIMIT 1
)
SELECT key FROM named
UNION
SELECT key FROM (SELECT key, digest FROM steps UNION SELECT key, digest FROM artifacts)
WHERE key IS NOT NULL AND length(of_what) >= 6 AND (starts_with(key, of_what) OR starts_with(digest, of_what))
    AND NOT EXISTS (FROM named);
COMMENT ON MACRO TABLE find IS 'find(what): the keys that a step''s name, or the first six or more digits of a key or digest, mean.';

CREATE MACRO ancestors(of_what) AS TABLE
WITH RECURSIVE links AS MATERIALIZED (SELECT DISTINCT key, producer FROM inputs WHERE producer IS NOT NULL),
up(key, depth) AS (
    SELECT key, 0 FROM find(of_what)
    UNION
    SELECT links.producer, up.depth + 1 FROM up JOIN links USING (key)
)
SELECT key, min(depth) AS depth FROM up GROUP BY key;
COMMENT ON MACRO TABLE ancestors IS 'ancestors(what): the key that `what` means, at depth 0, and all keys upstream of it: key, depth.';

CREATE MACRO descendants(of_what) AS TABLE
WITH RECURSIVE links AS MATERIALIZED (SELECT DISTINCT key, producer FROM inputs WHERE producer IS NOT NULL),
down(key, depth) AS (
    SELECT key, 0 FROM find(of_what)
    UNION
    SELECT links.key, down.depth + 1 FROM down JOIN links ON links.producer = down.key
)
SELECT key, min(depth) AS depth FROM down GROUP BY key;
COMMENT ON MACRO TABLE descendants IS 'descendants(what): the key that `what` means, at depth 0, and all keys made from it: key, depth.';
