//! Limits of time and memory on a script. An operation can be the copy of a million values, and thousands of such values can be held, so
//! counting operations bounds neither. It does not know what a script does.

use std::cell::{Cell, OnceCell};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rhai::Engine;
use tikv_jemalloc_ctl::thread::{ThreadLocal, allocatedp, deallocatedp};

/// The clock is read once in so many operations.
const CLOCK_OPERATIONS: u64 = 64;

/// What a script may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Time, from its first operation.
    pub(super) time: Duration,
    /// Bytes that it may hold beyond what its thread held at its first operation. Not limited where jemalloc is not the program's
    /// allocator.
    pub(super) bytes: u64,
}

impl Limits {
    /// Ends whatever takes more, counted from what `began` says at an operation of this number.
    pub(super) fn set(self, engine: &mut Engine, began: impl Fn(u64) -> Meter + Send + Sync + 'static) {
        engine.on_progress(move |operations| {
            let began = began(operations);
            if u64::try_from(held().wrapping_sub(began.held)).is_ok_and(|held| held > self.bytes) {
                let mib = self.bytes >> 20;
                return Some(
                    format!("it holds more than {mib} MiB; is there a value that grows with each turn of a loop?").into(),
                );
            }
            (operations.is_multiple_of(CLOCK_OPERATIONS) && began.at.elapsed() > self.time).then(|| {
                let seconds = self.time.as_secs_f64();
                format!("it takes longer than {seconds} s; is there an endless loop, or a value that grows with each turn?")
                    .into()
            })
        });
    }
}

/// Where a script began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    at: Instant,
    held: i64,
}

impl Meter {
    fn now() -> Self {
        Self { at: Instant::now(), held: held() }
    }

    /// For an engine that is used once: from its first operation.
    pub(super) fn from_the_first() -> impl Fn(u64) -> Self {
        let first = OnceLock::new();
        move |_| *first.get_or_init(Self::now)
    }

    /// For an engine that is used again and again: operations are counted from 1 in each call.
    pub(super) fn of_this_call(operations: u64) -> Self {
        thread_local! {
            static BEGAN: Cell<Option<Meter>> = const { Cell::new(None) };
        }
        BEGAN.get().filter(|_| operations > 1).unwrap_or_else(|| {
            let now = Self::now();
            BEGAN.set(Some(now));
            now
        })
    }
}

/// Bytes that this thread has allocated less those that it has freed; it may free what others allocated.
fn held() -> i64 {
    thread_local! {
        static COUNTERS: OnceCell<Option<(ThreadLocal<u64>, ThreadLocal<u64>)>> = const { OnceCell::new() };
    }
    COUNTERS.with(|counters| match counters.get_or_init(|| allocatedp::read().ok().zip(deallocatedp::read().ok())) {
        Some((allocated, freed)) => allocated.get().wrapping_sub(freed.get()).cast_signed(),
        None => 0,
    })
}

#[cfg(test)]
mod tests {
    use rhai::EvalAltResult;

    use super::*;
    use crate::recipe::sandbox::recipe_engine;

    fn ended(engine: &Engine, text: &str) -> String {
        match *engine.eval::<()>(text).unwrap_err() {
            EvalAltResult::ErrorTerminated(reason, _) => reason.to_string(),
            other => panic!("{text}: {other}"),
        }
    }

    #[test]
    fn few_operations_that_take_long_end() {
        let mut engine = recipe_engine();
        Limits { time: Duration::from_millis(200), bytes: 1 << 30 }.set(&mut engine, Meter::of_this_call);
        for text in [
            "let a = []; a.pad(900000, 0); for i in 0..1000000 { let b = a; b.push(i); }",
            "let a = []; a.pad(900000, 0); for i in 0..1000000 { try { let b = a; b.push(i); } catch { } }",
        ] {
            let start = Instant::now();
            let why = ended(&engine, text);
            assert!(why.contains("longer than"), "{why}");
            assert!(start.elapsed() < Duration::from_secs(20));
        }
        // The clock begins anew.
        std::thread::sleep(Duration::from_millis(250));
        engine.eval::<()>("for i in 0..1000 { }").unwrap();
    }

    #[test]
    fn values_that_fill_the_memory_end() {
        let mut engine = recipe_engine();
        Limits { time: Duration::from_secs(60), bytes: 100 << 20 }.set(&mut engine, Meter::of_this_call);
        // Each function call keeps an array of 8 MB alive; none is large by itself.
        let deep = "fn f(n) { let a = []; a.pad(500000, n); if n > 0 { f(n - 1); } a.len() } f(60);";
        assert!(ended(&engine, deep).contains("100 MiB"));
        // What is freed does not count.
        engine.eval::<()>("for i in 0..60 { let a = []; a.pad(500000, i); }").unwrap();
    }
}
