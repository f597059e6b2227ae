//! The line from the evaluating thread to the caller's: texts and files are asked for one at a time, so that the world need not
//! outlive the evaluation or be shared. Each pattern is asked for once. It does not know what the answers are used for.

use std::sync::mpsc::{Receiver, Sender, channel};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use plan::SourceFile;

use super::world::{World, WorldError};

type Files = Result<Vec<SourceFile>, WorldError>;

/// A question, and where the answer goes.
pub(super) enum Request {
    Read(String, Sender<Result<String, WorldError>>),
    Glob(String, Sender<Files>),
}

/// The asking end.
#[derive(Clone)]
pub(super) struct Outside {
    requests: Sender<Request>,
    globs: Arc<Mutex<BTreeMap<String, Files>>>,
}

impl Outside {
    /// Both ends.
    pub(super) fn open() -> (Self, Receiver<Request>) {
        let (sender, receiver) = channel();
        (Self { requests: sender, globs: Arc::default() }, receiver)
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> T {
        let (reply, answer) = channel();
        self.requests.send(request(reply)).expect("the caller answers until the evaluation ends");
        answer.recv().expect("the caller answers every question")
    }

    pub(super) fn read(&self, path: &str) -> Result<String, WorldError> {
        self.ask(|reply| Request::Read(path.to_owned(), reply))
    }

    pub(super) fn glob(&self, pattern: &str) -> Files {
        let mut globs = self.globs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = globs.get(pattern) {
            return known.clone();
        }
        let found = self.ask(|reply| Request::Glob(pattern.to_owned(), reply));
        globs.insert(pattern.to_owned(), found.clone());
        found
    }
}

/// Answers until every asking end is gone.
pub(super) fn serve(requests: &Receiver<Request>, world: &dyn World) {
    for request in requests {
        // A closed reply means that the asking thread is unwinding; its end is noticed when it is joined.
        match request {
            Request::Read(path, reply) => drop(reply.send(world.read(&path))),
            Request::Glob(pattern, reply) => drop(reply.send(world.glob(&pattern))),
        }
    }
}
