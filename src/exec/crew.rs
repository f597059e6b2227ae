//! Threads that run one job after another, as many as jobs run at the same time. It does not know what a job does.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::recipe::STACK_BYTES;

type Job = Box<dyn FnOnce() + Send>;

/// Idle threads, each by the line it waits on; they end when this is dropped.
#[derive(Default)]
pub struct Crew {
    idle: Arc<Mutex<Vec<Sender<Job>>>>,
}

impl Crew {
    /// Runs a job on an idle thread, or on a new one.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn run(&self, job: Job) -> std::io::Result<()> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let job = match idle {
            Some(thread) => match thread.send(job) {
                Ok(()) => return Ok(()),
                Err(back) => back.0,
            },
            None => job,
        };
        let (sender, receiver) = channel::<Job>();
        let idle = Arc::downgrade(&self.idle);
        std::thread::Builder::new().name("step".into()).stack_size(STACK_BYTES).spawn(move || {
            let mut next = Some(job);
            while let Some(job) = next.take() {
                job();
                // Without a crew there are no more jobs.
                let Some(idle) = idle.upgrade() else { return };
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender.clone());
                drop(idle);
                next = receiver.recv().ok();
            }
        })?;
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // The threads hold the other ends of these lines; a thread that waits holds one of its own too, so it is told.
        for thread in self.idle.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.send(Box::new(|| {}));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_thread_takes_the_next_job() {
        let crew = Crew::default();
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        for _ in 0..20 {
            let (done, wait) = channel();
            let seen = seen.clone();
            let job = move || {
                seen.lock().unwrap().insert(format!("{:?}", std::thread::current().id()));
                done.send(()).unwrap();
            };
            crew.run(Box::new(job)).unwrap();
            wait.recv().unwrap();
            while crew.idle.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
        }
        assert_eq!(seen.lock().unwrap().len(), 1);
    }
}
