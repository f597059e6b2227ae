//! The same done to many things on several threads, which mostly wait. It does not know for what.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::Result;

/// Does `act` to every item on up to `threads` threads; results in the order of the items. Nothing new is begun after a failure, and
/// the failure that comes first in that order is returned.
pub(crate) fn in_parallel<Item: Sync, Outcome: Send>(
    items: &[Item],
    threads: usize,
    act: impl Fn(&Item) -> Result<Outcome> + Sync,
) -> Result<Vec<Outcome>> {
    if items.len() <= 1 || threads <= 1 {
        return items.iter().map(act).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { break };
            let outcome = act(item);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            done.push((index, outcome));
        }
        done
    };
    let mut outcomes: Vec<(usize, Result<Outcome>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(items.len())).map(|_| scope.spawn(work)).collect();
        let join =
            |worker: std::thread::ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        workers.into_iter().flat_map(join).collect()
    });
    outcomes.sort_unstable_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;

    #[test]
    fn results_keep_their_order_and_a_failure_ends_it() {
        let items: Vec<usize> = (0..1000).collect();
        assert_eq!(in_parallel(&items, 7, |item| Ok(item * 2)).unwrap()[999], 1998);
        let begun = AtomicUsize::new(0);
        let outcome = in_parallel(&items, 4, |item| {
            begun.fetch_add(1, Ordering::Relaxed);
            if *item == 10 { Err(StoreError::Io(std::io::Error::other("ten"))) } else { Ok(()) }
        });
        assert_eq!(outcome.unwrap_err().to_string(), "ten");
        assert!(begun.into_inner() < 1000);
    }
}
