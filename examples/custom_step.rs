//! A kind of step of one's own: declared with `params!`, used in a recipe, planned and run without a store.
#![allow(clippy::print_stdout, missing_docs)]

use std::collections::BTreeMap;

use plan::{Place, Plan, Resources};
use workbench::recipe::{MemoryWorld, evaluate};
use workbench::steps::{About, ArtifactType, Closing, Registry, Reporter, Step, StepError, Work, standard};

workbench::params! {
    /// Parameters of [`Greet`].
    pub struct Params {
        /// Whom to greet.
        name: String;
        /// How often.
        times: u64 = 1, in 1.0..=10.0;
    }
}

struct Greet;

impl Step for Greet {
    type Params = Params;

    fn about() -> About {
        About {
            name: "greet",
            version: 1,
            doc: "Writes a greeting.",
            ports: &[],
            positional: &["name"],
            output: ArtifactType::Files,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let text = format!("Hello, {}!\n", params.name).repeat(usize::try_from(params.times).unwrap_or(1));
        std::fs::write(work.out("greeting.txt"), &text)?;
        Ok(Closing::from([("bytes".into(), text.len() as f64)]))
    }
}

struct Quiet;

impl Reporter for Quiet {
    fn progress(&self, _: u64, _: Option<u64>, _: &str) {}
    fn metrics(&self, _: u64, _: BTreeMap<String, f64>) {}
    fn log(&self, _: &str) {}
    fn should_stop(&self) -> bool {
        false
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry: Registry = standard().with::<Greet>();
    let world = MemoryWorld::new([("hello.rhai", "output(\"greeting\", greet(\"you\", #{ times: 2 }));")]);
    let evaluation = evaluate("hello.rhai", &world, &registry, &BTreeMap::new())?;
    let plan = Plan::new(evaluation.steps, evaluation.outputs).map_err(|errors| errors[0].to_string())?;
    for &id in plan.order() {
        let step = plan.step(id);
        println!("{} is a {} with {}, plan id {}", step.name, step.kind, step.params, plan.plan_id(id).short());
        let folder = std::env::temp_dir().join(format!("workbench-example-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let work = Work {
            inputs: Vec::new(),
            out: folder.clone(),
            progress: folder.clone(),
            threads: 1,
            device: "cpu".into(),
            reporter: &Quiet,
        };
        let closing = registry.get(&step.kind).ok_or("the kind is registered")?.run(&step.params, &work)?;
        print!("{}", std::fs::read_to_string(folder.join("greeting.txt"))?);
        println!("{closing:?}");
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}
