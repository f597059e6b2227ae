//! A recipe of any bytes, with the program's own kinds, in a world held in memory. It ends, in time, with declarations or with
//! mistakes; it reads nothing but the files of that world; what it declares survives a journal.
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use plan::{Source, SourceFile, Value};
use workbench::recipe::{MemoryWorld, World, WorldError, evaluate};
use workbench::steps::{Registry, standard};

/// The files there are.
const FILES: &[(&str, &str)] =
    &[("data/a.txt", "one"), ("data/b.txt", "two"), ("data/c.jsonl", "{\"text\":\"three\"}\n"), ("m.rhai", "fn two() { 2 }")];
/// How long an evaluation may take, far above what its limit of operations allows for honest work.
const PATIENCE: Duration = Duration::from_secs(10);

static REGISTRY: LazyLock<Registry> = LazyLock::new(standard);

/// The world in memory, which no question may leave. A question for a text outside is allowed only as long as the answer is no.
struct Watched(MemoryWorld);

impl World for Watched {
    fn read(&self, path: &str) -> Result<String, WorldError> {
        let answer = self.0.read(path);
        assert_eq!(answer.is_ok(), path == "r.rhai" || FILES.iter().any(|(there, _)| *there == path));
        answer
    }

    fn glob(&self, pattern: &str) -> Result<Vec<SourceFile>, WorldError> {
        self.0.glob(pattern)
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let world = Watched(MemoryWorld::new(FILES.iter().copied().chain([("r.rhai", text)])));
    let start = Instant::now();
    let result = evaluate("r.rhai", &world, &REGISTRY, &BTreeMap::new());
    assert!(start.elapsed() < PATIENCE, "an evaluation ends in time");
    let evaluation = match result {
        Ok(evaluation) => evaluation,
        Err(error) => {
            assert!(!error.mistakes.is_empty(), "a recipe that fails has a mistake");
            assert!(!error.to_string().contains("internal error"), "{error}");
            return;
        }
    };
    for step in &evaluation.steps {
        let again = Value::from_json(&step.params.to_json());
        assert_eq!(again, step.params, "parameters come back from a journal");
        for input in &step.inputs {
            if let Source::Files(files) = &input.source {
                assert!(files.iter().all(|file| file.path == "r.rhai" || FILES.iter().any(|(there, _)| *there == file.path)));
            }
        }
    }
    let _ = plan::Plan::new(evaluation.steps, evaluation.outputs);
});
