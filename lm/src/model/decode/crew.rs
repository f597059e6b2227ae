//! A few threads that work through many short phases together: decoding one token takes tens of phases of microseconds,
//! for which a fork and a join each would cost more than the work.
//!
//! One thread leads; helpers spin between phases and take pieces as they come. The leader never waits for a helper to
//! arrive, only for pieces that a helper has begun. The leader takes pieces from the beginning and helpers from the end,
//! so that a thread meets about the same weights and memories again, phase after phase, and finds them in the caches that
//! are its own: processors may share less than they seem to. Knows nothing of models. What a piece computes must not depend on
//! who runs it. The leader's closure must not use rayon: it could be handed the helper's own job, which ends only with
//! the crew.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

type Job = *const (dyn Fn(usize) + Sync);

/// Threads at work on the same sequence of phases.
pub(crate) struct Crew {
    helpers: usize,
    /// Number of the phase, the end of the pieces left, and their beginning: 24, 20 and 20 bits.
    turn: AtomicU64,
    /// Pieces of the phase that are finished.
    done: AtomicUsize,
    /// What a piece is, for the phase at hand.
    job: UnsafeCell<Option<Job>>,
    closed: AtomicBool,
    failed: AtomicBool,
}

// SAFETY: `job` is written by the leader between phases only, when no helper holds a piece, and read by a thread that
// took a piece of the phase it belongs to; `turn` and `done` order the two.
unsafe impl Sync for Crew {}

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Fruitless looks at the state before a helper starts to offer its processor to others.
const SPINS: u32 = 2000;

/// Where a thread takes its pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Beginning,
    End,
}

/// Counts a piece as finished, also when it panics.
struct Piece<'a>(&'a Crew);

impl Drop for Piece<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
        self.0.done.fetch_add(1, Ordering::Release);
    }
}

/// Ends a phase: no piece is running or left afterwards, also when the leader panics.
struct Phase<'a> {
    crew: &'a Crew,
    pieces: usize,
}

impl Drop for Phase<'_> {
    fn drop(&mut self) {
        while self.crew.take(Side::Beginning).is_some() {
            self.crew.done.fetch_add(1, Ordering::Release);
        }
        let mut spins = 0;
        while self.crew.done.load(Ordering::Acquire) < self.pieces {
            pause(&mut spins);
        }
    }
}

struct Close<'a>(&'a Crew);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

fn pause(spins: &mut u32) {
    *spins += 1;
    if *spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
}

impl Crew {
    fn new(helpers: usize) -> Self {
        Self {
            helpers,
            turn: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            closed: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// A crew of the calling thread alone.
    #[cfg(test)]
    pub(crate) fn alone() -> Self {
        Self::new(0)
    }

    /// Runs `lead` with a crew of itself and up to `helpers` threads of rayon's pool.
    pub(crate) fn with<R: Send>(helpers: usize, lead: impl FnOnce(&Crew) -> R + Send) -> R {
        let crew = Self::new(helpers.min(rayon::current_num_threads() - 1));
        if crew.helpers == 0 {
            return lead(&crew);
        }
        rayon::scope(|scope| {
            let _close = Close(&crew);
            for _ in 0..crew.helpers {
                scope.spawn(|_| crew.help());
            }
            lead(&crew)
        })
    }

    /// Threads at most, the leader included.
    pub(crate) fn size(&self) -> usize {
        self.helpers + 1
    }

    /// Runs `piece(0)` to `piece(n - 1)`, each once, in any order and on any thread of the crew.
    pub(crate) fn run(&self, n: usize, piece: impl Fn(usize) + Sync) {
        if self.helpers == 0 || n <= 1 {
            return (0..n).for_each(piece);
        }
        assert!((n as u64) < COUNT_MASK, "a phase has fewer than a million pieces");
        let job: &(dyn Fn(usize) + Sync) = &piece;
        // SAFETY: the phase ends before `piece` goes out of scope, so the longer lifetime is never made use of; no
        // helper holds a piece between phases.
        unsafe { *self.job.get() = Some(std::mem::transmute::<&(dyn Fn(usize) + Sync), Job>(job)) };
        self.done.store(0, Ordering::Relaxed);
        let number = (self.turn.load(Ordering::Relaxed) >> (2 * COUNT_BITS)).wrapping_add(1);
        self.turn.store(number << (2 * COUNT_BITS) | (n as u64) << COUNT_BITS, Ordering::Release);
        let phase = Phase { crew: self, pieces: n };
        while let Some(index) = self.take(Side::Beginning) {
            let _piece = Piece(self);
            piece(index);
        }
        drop(phase);
        assert!(!self.failed.load(Ordering::Relaxed), "a piece of work panicked on another thread");
    }

    /// Runs `piece` on every item.
    pub(crate) fn each<T: Send>(&self, items: &mut [T], piece: impl Fn(usize, &mut T) + Sync) {
        struct Start<T>(*mut T);
        // SAFETY: every item goes to one piece, and items may be sent.
        unsafe impl<T: Send> Sync for Start<T> {}
        impl<T> Start<T> {
            fn at(&self, index: usize) -> *mut T {
                self.0.wrapping_add(index)
            }
        }
        let start = Start(items.as_mut_ptr());
        // SAFETY: `run` gives every index below the length to one piece, so the references are disjoint.
        self.run(items.len(), |index| piece(index, unsafe { &mut *start.at(index) }));
    }

    /// A piece of the phase at hand.
    fn take(&self, side: Side) -> Option<usize> {
        let mut turn = self.turn.load(Ordering::Acquire);
        loop {
            let (next, end) = (turn & COUNT_MASK, turn >> COUNT_BITS & COUNT_MASK);
            if next >= end {
                return None;
            }
            let (index, left) = match side {
                Side::Beginning => (next, turn + 1),
                Side::End => (end - 1, turn - (1 << COUNT_BITS)),
            };
            match self.turn.compare_exchange_weak(turn, left, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(index as usize),
                Err(now) => turn = now,
            }
        }
    }

    fn help(&self) {
        let mut spins = 0;
        while !self.closed.load(Ordering::Acquire) {
            match self.take(Side::End) {
                None => pause(&mut spins),
                Some(index) => {
                    spins = 0;
                    let _piece = Piece(self);
                    // SAFETY: this thread holds a piece of the phase, so the job is that phase's and still alive.
                    unsafe {
                        let job = (*self.job.get()).expect("a phase has a job");
                        (*job)(index);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_of_every_phase_runs_once() {
        for helpers in [0, 1, 3] {
            Crew::with(helpers, |crew| {
                let mut counts = vec![0_u32; 1000];
                for _ in 0..2000 {
                    crew.each(&mut counts[..37], |_, count| *count += 1);
                }
                crew.each(&mut counts, |index, count| *count += index as u32);
                assert!(counts.iter().enumerate().all(|(i, c)| *c == i as u32 + if i < 37 { 2000 } else { 0 }));
            });
        }
    }

    #[test]
    fn a_panic_in_a_piece_reaches_the_leader() {
        for bad in [0, 63] {
            let result = std::panic::catch_unwind(|| {
                Crew::with(1, |crew| crew.run(64, |index| assert!(index != bad, "piece {bad}")));
            });
            assert!(result.is_err());
        }
    }
}
