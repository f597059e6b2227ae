//! Thread pools for steps that run in this process, kept for the next step of as many threads. It does not know what runs in them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use super::usage::thread_cpu_seconds;
use crate::recipe::STACK_BYTES;

/// Idle pools, by number of threads.
#[derive(Debug, Default)]
pub struct Pools(Mutex<BTreeMap<usize, Vec<ThreadPool>>>);

impl Pools {
    /// Runs `act` in a pool of so many threads, which nobody else uses meanwhile; also gives the processor seconds of these threads.
    ///
    /// # Errors
    /// If no threads can be started.
    pub fn run<T: Send>(&self, threads: usize, act: impl FnOnce() -> T + Send) -> Result<(T, f64), ThreadPoolBuildError> {
        if threads == 1 {
            return alone(act);
        }
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&threads).and_then(Vec::pop);
        let pool = match idle {
            Some(pool) => pool,
            None => ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK_BYTES).build()?,
        };
        let cpu = || pool.broadcast(|_| thread_cpu_seconds()).into_iter().sum::<f64>();
        let before = cpu();
        let result = pool.install(act);
        let used = cpu() - before;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(threads).or_default().push(pool);
        Ok((result, used))
    }
}

/// Runs `act` on this thread, which is a pool of its own from now on: nothing crosses threads.
fn alone<T>(act: impl FnOnce() -> T) -> Result<(T, f64), ThreadPoolBuildError> {
    thread_local! {
        static POOL: OnceCell<ThreadPool> = const { OnceCell::new() };
    }
    POOL.with(|cell| {
        if cell.get().is_none() {
            let pool = ThreadPoolBuilder::new().num_threads(1).use_current_thread().build()?;
            // Nobody else sets it.
            let _ = cell.set(pool);
        }
        let before = thread_cpu_seconds();
        let result = act();
        Ok((result, thread_cpu_seconds() - before))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_the_threads_asked_for_and_its_time_is_counted() {
        let pools = Pools::default();
        // Not on the thread of the test, which would be a pool of one from then on.
        let alone = std::thread::spawn(move || Pools::default().run(1, rayon::current_num_threads).unwrap().0);
        assert_eq!(alone.join().unwrap(), 1);
        for threads in [2, 3, 2, 3] {
            let (found, seconds) = pools.run(threads, rayon::current_num_threads).unwrap();
            assert_eq!(found, threads);
            assert!(seconds >= 0.0);
        }
        assert_eq!(pools.0.lock().unwrap().values().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }
}
