//! The two engines: one that evaluates recipes, one that runs closures inside steps. Both are without files, clock, randomness and
//! environment, and both are limited. This file does not know steps.

mod meter;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use rhai::packages::{
    BasicArrayPackage, BasicBlobPackage, BasicMapPackage, BasicMathPackage, BitFieldPackage, CorePackage, LogicPackage,
    MoreStringPackage, Package,
};
use rhai::{Engine, EvalAltResult, OptimizationLevel};

use meter::{Limits, Meter};

/// Operations that evaluating a recipe may take; fuzzers meet the limit sooner.
const RECIPE_OPERATIONS: u64 = if cfg!(fuzzing) { 200_000 } else { 20_000_000 };
/// Operations that one call of a closure may take.
const CLOSURE_OPERATIONS: u64 = 5_000_000;
/// Time for the same. An operation can be the copy of a million values, or of as many inside each other, and is counted as one.
/// Operations that cost what they should take a tenth of this.
const RECIPE_TIME: Duration = Duration::from_secs(if cfg!(fuzzing) { 3 } else { 30 });
const CLOSURE_TIME: Duration = Duration::from_secs(10);
/// Bytes that they may hold at once beyond what was there before. A value holds a million elements or 4 MiB of text at most, but there can
/// be thousands of values.
const RECIPE_BYTES: u64 = 4 << 30;
const CLOSURE_BYTES: u64 = 1 << 30;
/// Stack that values take which are nested as deep as that time allows: copying, comparing and dropping them is recursive.
pub(crate) const STACK_BYTES: usize = 256 << 20;
/// Nesting of expressions in a recipe; the canonical text of a closure nests deeper because every operation is bracketed.
const RECIPE_DEPTH: usize = 100;
const CLOSURE_DEPTH: usize = 300;

/// Names that would reach outside, or that make a text mean something that cannot be seen in it.
const FORBIDDEN: &[&str] = &["eval", "sleep", "timestamp"];

fn bare() -> Engine {
    let mut engine = Engine::new_raw();
    CorePackage::new().register_into_engine(&mut engine);
    BitFieldPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicBlobPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    for name in FORBIDDEN {
        engine.disable_symbol(*name);
    }
    // Being no keyword it is not disabled by its name, but the first function that is found counts.
    let no_sleep = || Err::<(), Box<EvalAltResult>>("there is no function `sleep`".into());
    engine.register_fn("sleep", move |_: i64| no_sleep()).register_fn("sleep", move |_: f64| no_sleep());
    engine
        .set_optimization_level(OptimizationLevel::None)
        .set_fail_on_invalid_map_property(true)
        .set_max_string_size(4 << 20)
        .set_max_array_size(1_000_000)
        .set_max_map_size(100_000)
        .set_max_variables(10_000)
        .set_max_functions(4_000);
    engine
}

/// An engine for recipes, to which steps are still to be added.
pub(super) fn recipe_engine() -> Engine {
    let mut engine = bare();
    Limits { time: RECIPE_TIME, bytes: RECIPE_BYTES }.set(&mut engine, Meter::from_the_first());
    engine
        .set_max_operations(RECIPE_OPERATIONS)
        .set_max_expr_depths(RECIPE_DEPTH, RECIPE_DEPTH)
        .set_max_call_levels(64)
        .set_max_modules(200);
    engine
}

/// The engine that parses and runs canonical closures; shared by all threads.
pub(super) fn closure_engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = bare();
        Limits { time: CLOSURE_TIME, bytes: CLOSURE_BYTES }.set(&mut engine, Meter::of_this_call);
        engine
            .set_max_operations(CLOSURE_OPERATIONS)
            .set_max_expr_depths(CLOSURE_DEPTH, CLOSURE_DEPTH)
            .set_max_call_levels(32)
            .set_max_modules(0)
            .on_print(|_| {})
            .on_debug(|_, _, _| {});
        engine
    })
}

/// Names of all functions an engine has, script functions aside.
pub(super) fn function_names(engine: &Engine) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        ["call", "curry", "type_of", "is_shared", "print", "debug", "Fn", "is_def_fn", "is_def_var"]
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
    for signature in engine.gen_fn_signatures(true) {
        let head = signature.split('(').next().unwrap_or_default();
        names.extend(head.split_whitespace().next_back().map(str::to_owned));
    }
    for name in FORBIDDEN {
        names.remove(*name);
    }
    names
}

/// Names of all functions that closures can call.
pub(super) fn closure_functions() -> &'static BTreeSet<String> {
    static NAMES: OnceLock<BTreeSet<String>> = OnceLock::new();
    NAMES.get_or_init(|| function_names(closure_engine()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_outside() {
        for text in ["timestamp()", "sleep(1)", "eval(\"1\")", "import \"x\" as x;", "let x = timestamp(); x", "rand()"] {
            assert!(closure_engine().eval::<rhai::Dynamic>(text).is_err(), "{text}");
        }
        for name in FORBIDDEN {
            assert!(!closure_functions().contains(*name));
        }
        assert!(closure_functions().contains("to_upper") && closure_functions().contains("filter"));
    }

    #[test]
    fn endless_loops_end() {
        assert!(closure_engine().eval::<()>("loop {}").is_err());
        assert!(recipe_engine().eval::<()>("fn f() { f() } f()").is_err());
    }
}
