-- Tables, private to this crate: one row for each fact that a journal or a manifest states, appended and never updated.
-- Every state, duration and total is derived by the views in views.sql. Times are UTC; `seq` is the record's position in its
-- journal; `step` is a position in the run's plan where it is a number, and a step's name where it is text.

CREATE SCHEMA raw;

CREATE TABLE raw.meta (version VARCHAR);

-- How far each journal has been read. `head` is the digest of its first bytes, by which a replaced file is noticed.
CREATE TABLE raw.journals (run VARCHAR, path VARCHAR, bytes BIGINT, lines BIGINT, head VARCHAR, seen TIMESTAMP);
CREATE TABLE raw.warnings (run VARCHAR, path VARCHAR, line BIGINT, text VARCHAR);

CREATE TABLE raw.runs (
    run VARCHAR, started TIMESTAMP, recipe VARCHAR, recipe_digest VARCHAR, program VARCHAR, host VARCHAR, pid BIGINT,
    device VARCHAR, threads BIGINT, memory_mib BIGINT
);
CREATE TABLE raw.run_ends (
    run VARCHAR, seq BIGINT, time TIMESTAMP, status VARCHAR, executed BIGINT, hits BIGINT, failed BIGINT, seconds DOUBLE
);
CREATE TABLE raw.settings (run VARCHAR, name VARCHAR, value VARCHAR, number DOUBLE, type VARCHAR);
CREATE TABLE raw.outputs (run VARCHAR, name VARCHAR, step BIGINT);
CREATE TABLE raw.steps (
    run VARCHAR, step BIGINT, name VARCHAR, kind VARCHAR, version BIGINT, plan_id VARCHAR, params VARCHAR, site VARCHAR,
    place VARCHAR, cpus BIGINT, memory_mib BIGINT, wanted BOOLEAN
);
CREATE TABLE raw.edges (run VARCHAR, step BIGINT, position BIGINT, port VARCHAR, source BIGINT, path VARCHAR);

-- Every event but metrics, progress and machine, which come too often; what an event does not say is null.
CREATE TABLE raw.events (
    run VARCHAR, seq BIGINT, time TIMESTAMP, event VARCHAR, step BIGINT, key VARCHAR, digest VARCHAR, hit BOOLEAN,
    threads BIGINT, resumed BOOLEAN, seconds DOUBLE, bytes BIGINT, blocker BIGINT, text VARCHAR
);
CREATE TABLE raw.reasons (
    run VARCHAR, seq BIGINT, step BIGINT, position BIGINT, what VARCHAR, path VARCHAR, before VARCHAR, after VARCHAR
);
-- These two are read in the order they came in, without a join, so that `last(value)` is the last value.
CREATE TABLE raw.progress (run VARCHAR, seq BIGINT, time TIMESTAMP, step VARCHAR, done BIGINT, total BIGINT, unit VARCHAR);
CREATE TABLE raw.metrics (
    run VARCHAR, seq BIGINT, time TIMESTAMP, step VARCHAR, kind VARCHAR, iteration BIGINT, metric VARCHAR, value DOUBLE
);
CREATE TABLE raw.closing (run VARCHAR, seq BIGINT, step BIGINT, key VARCHAR, metric VARCHAR, value DOUBLE);
CREATE TABLE raw.machine (
    run VARCHAR, seq BIGINT, time TIMESTAMP, cpu_percent DOUBLE, memory_mib BIGINT, memory_total_mib BIGINT, load DOUBLE
);
CREATE TABLE raw.gpus (
    run VARCHAR, seq BIGINT, time TIMESTAMP, gpu BIGINT, name VARCHAR, percent DOUBLE, memory_mib BIGINT,
    memory_total_mib BIGINT
);

-- From manifests and preimages.
CREATE TABLE raw.artifacts (
    key VARCHAR, digest VARCHAR, kind VARCHAR, version BIGINT, params VARCHAR, bytes BIGINT, files BIGINT, run VARCHAR,
    step VARCHAR, finished TIMESTAMP, seconds DOUBLE, host VARCHAR, device VARCHAR, threads BIGINT, program VARCHAR
);
CREATE TABLE raw.files (key VARCHAR, digest VARCHAR, path VARCHAR, bytes BIGINT, file_digest VARCHAR);
CREATE TABLE raw.inputs (
    key VARCHAR, position BIGINT, port VARCHAR, producer VARCHAR, digest VARCHAR, path VARCHAR
);
CREATE TABLE raw.results (key VARCHAR, metric VARCHAR, value DOUBLE);

-- Parameters, exploded; equal parameters of many steps and runs are kept once, under the digest of their encoding.
CREATE TABLE raw.params (params VARCHAR, path VARCHAR, value VARCHAR, number DOUBLE, type VARCHAR);
