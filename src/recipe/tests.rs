//! A small made-up registry, and what every test of the border needs. The tests themselves are in the files beside.

mod calls;
mod fuzz;
mod language;
mod mistakes;
mod modules;

use std::collections::BTreeMap;

use plan::{Place, Plan, PlanId, Resources, Source, StepDecl, StepId};

use super::{Evaluation, MemoryWorld, RecipeError, evaluate};
use crate::steps::{About, Arity, ArtifactType, Closing, ParamError, Port, Registry, Script, Step, StepError, Work};
use ArtifactType::{Checkpoint, Documents, Files, Tokenizer, Tokens};

const fn port(name: &'static str, accepts: &'static [ArtifactType], arity: Arity) -> Port {
    Port { name, accepts, arity, doc: "What it works on." }
}

macro_rules! kind {
    ($step:ident $name:literal ($($port:expr),*) [$($positional:literal),*] -> $output:ident $(, parts $parts:expr)? ;
     $(#[doc = $doc:literal])? { $($fields:tt)* } $(, complete $complete:expr)?) => {
        #[allow(unreachable_pub, reason = "the macro writes `pub` for kinds of all modules")]
        pub(super) mod $step {
            use super::*;
            crate::params! {
                /// Parameters.
                pub struct Params { $($fields)* }
            }
            pub struct Kind;
            impl Step for Kind {
                type Params = Params;
                fn about() -> About {
                    #[allow(unused_mut, unused_assignments)]
                    let mut parts: &'static [(&'static str, ArtifactType)] = &[];
                    $(parts = $parts;)?
                    About {
                        name: $name,
                        version: 1,
                        doc: "A step of the tests.",
                        ports: const { &[$($port),*] },
                        positional: &[$($positional),*],
                        output: ArtifactType::$output,
                        parts,
                        place: Place::Thread,
                        resources: Resources { cpus: 1, memory_mib: 512, gpus: 0 },
                    }
                }
                $(fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
                    let complete: fn(&mut Params) -> Result<(), Vec<ParamError>> = $complete;
                    complete(params)
                })?
                fn run(_: Params, _: &Work<'_>) -> Result<Closing, StepError> {
                    unreachable!("recipes are not run here")
                }
            }
        }
    };
}

crate::params! {
    /// A model.
    #[allow(unreachable_pub, reason = "the macro writes `pub` for kinds of all modules")]
    pub struct Shape {
        /// Family.
        family: String = "olmo2".to_owned();
        /// Width.
        hidden_size: u64, in 2.0..=1e6;
        /// Layers.
        n_layers: u64;
        /// Heads.
        n_heads: u64;
        /// Heads of keys and values.
        n_kv_heads: u64;
        /// Width of a head.
        head_dim: u64;
        /// Units.
        intermediate_size: u64;
        /// Base.
        rope_theta: f64 = 5e5;
        /// Epsilon.
        norm_eps: f64 = 1e-6;
        /// Positions.
        max_position_embeddings: u64 = 256;
    }
}

kind!(read "read" (port("files", &[Files], Arity::Many)) [] -> Documents; { format: String = "auto".to_owned(); });
kind!(tag "tag" (port("documents", &[Documents], Arity::One)) ["taggers"] -> Documents; { taggers: Vec<String>; });
kind!(dedup "dedup" (port("documents", &[Documents], Arity::One)) ["by"] -> Documents; { by: String = "document".to_owned(); });
kind!(filter "filter" (port("documents", &[Documents], Arity::One)) ["keep"] -> Documents; { keep: Script; });
kind!(mix "mix" (port("documents", &[Documents], Arity::Many)) ["weights"] -> Documents;
    { weights: BTreeMap<String, f64>, in 0.0..=1e9; seed: u64 = 0; });
kind!(split "split" (port("documents", &[Documents], Arity::One)) [] -> Split, parts &[("train", Documents), ("valid", Documents)];
    { valid: f64 = 0.1, in 0.0..=1.0; seed: u64 = 0; });
kind!(train_tokenizer "train_tokenizer" (port("documents", &[Documents], Arity::Many)) [] -> Tokenizer; { vocab_size: u64 = 4096; });
kind!(tokenize "tokenize" (port("documents", &[Documents], Arity::Many), port("tokenizer", &[Tokenizer], Arity::One)) [] -> Tokens; {});
kind!(pretrain "pretrain" (port("start", &[Checkpoint], Arity::Optional), port("tokens", &[Tokens], Arity::Many)) ["model"] -> Checkpoint;
    { model: Option<Shape> = None; tokens: u64, in 1.0..=1e15; lr: f64 = 1e-3, in 0.0..=1.0; seed: u64 = 0; });
kind!(grow "grow" (port("checkpoint", &[Checkpoint], Arity::One)) [] -> Checkpoint; { width: u64 = 1; depth: u64 = 1; }, complete |params| {
    if params.width * params.depth == 1 { Err(vec![ParamError::new("width", "width or depth must be above 1")]) } else { Ok(()) }
});
kind!(anneal "anneal" (port("checkpoint", &[Checkpoint], Arity::One), port("tokens", &[Tokens], Arity::Many)) [] -> Checkpoint;
    { seed: u64 = 0; tokens: u64 = 1000; });
kind!(average "average" (port("checkpoints", &[Checkpoint], Arity::Many)) [] -> Checkpoint; {});
kind!(dpo "dpo" (port("policy", &[Checkpoint], Arity::One), port("reference", &[Checkpoint], Arity::Optional)) [] -> Checkpoint; { beta: f64 = 0.1; });
kind!(evaluate_ "evaluate" (port("checkpoints", &[Checkpoint], Arity::Many), port("documents", &[Documents], Arity::Any)) ["tasks"] -> Scores;
    { tasks: Vec<String> = Vec::new(); });

pub(super) fn registry() -> Registry {
    Registry::new()
        .with::<read::Kind>()
        .with::<tag::Kind>()
        .with::<dedup::Kind>()
        .with::<filter::Kind>()
        .with::<mix::Kind>()
        .with::<split::Kind>()
        .with::<train_tokenizer::Kind>()
        .with::<tokenize::Kind>()
        .with::<pretrain::Kind>()
        .with::<grow::Kind>()
        .with::<anneal::Kind>()
        .with::<average::Kind>()
        .with::<dpo::Kind>()
        .with::<evaluate_::Kind>()
}

/// Evaluates `recipes/r.rhai` of a world that has some data files and these modules.
pub(super) fn with_modules(text: &str, modules: &[(&str, &str)], settings: &[(&str, &str)]) -> Result<Evaluation, RecipeError> {
    let data = [("data/a.txt", "a"), ("data/b.txt", "b"), ("r.rhai", text)];
    let world = MemoryWorld::new(data.iter().chain(modules).copied());
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    evaluate("recipes/r.rhai", &world, &registry(), &settings)
}

pub(super) fn run(text: &str) -> Result<Evaluation, RecipeError> {
    with_modules(text, &[], &[])
}

pub(super) fn good(text: &str) -> Evaluation {
    run(text).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn bad(text: &str) -> RecipeError {
    run(text).expect_err(&format!("{text} has mistakes"))
}

/// The messages of the mistakes.
pub(super) fn messages(error: &RecipeError) -> Vec<String> {
    error.mistakes.iter().map(|mistake| mistake.message.clone()).collect()
}

/// `kind(inputs)` of a step, as a person reads it.
pub(super) fn shown(evaluation: &Evaluation, step: &StepDecl) -> String {
    let inputs = step.inputs.iter().map(|input| {
        let source = match &input.source {
            Source::Step(StepId(id)) => evaluation.steps[*id].name.clone(),
            Source::Files(files) => files.iter().map(|file| file.path.clone()).collect::<Vec<_>>().join("+"),
        };
        let part = input.part.as_ref().map_or(String::new(), |part| format!(".{part}"));
        format!("{}={source}{part}", input.port)
    });
    format!("{}={}({})", step.name, step.kind, inputs.collect::<Vec<_>>().join(" "))
}

pub(super) fn all_shown(evaluation: &Evaluation) -> Vec<String> {
    evaluation.steps.iter().map(|step| shown(evaluation, step)).collect()
}

/// The plan ids of all steps, sorted.
pub(super) fn plan_ids(evaluation: &Evaluation) -> Vec<PlanId> {
    let plan = Plan::new(evaluation.steps.clone(), evaluation.outputs.clone()).unwrap();
    let mut ids: Vec<_> = (0..plan.steps().len()).map(|index| plan.plan_id(StepId(index))).collect();
    ids.sort();
    ids
}
