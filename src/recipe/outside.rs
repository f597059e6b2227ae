//! The line from the evaluating thread to the caller's: texts, files and parameter checks are asked for one at a time, so that
//! neither the world nor the registry has to outlive the evaluation or be shared. It does not know what the answers are used for.

use std::sync::mpsc::{Receiver, Sender, channel};

use plan::{SourceFile, Value};

use super::world::{World, WorldError};
use crate::steps::{ArtifactType, Kind, ParamError, Registry};

type Checked = Result<Value, Vec<ParamError>>;

/// Types of what is connected to a call, by port; `None` when one is not known.
pub(super) type Connected = Option<Vec<(&'static str, ArtifactType)>>;

/// A question, and where the answer goes.
pub(super) enum Request {
    Read(String, Sender<Result<String, WorldError>>),
    Glob(String, Sender<Result<Vec<SourceFile>, WorldError>>),
    Check(String, Value, Connected, Sender<Checked>),
}

/// The asking end.
#[derive(Clone)]
pub(super) struct Outside(Sender<Request>);

impl Outside {
    /// Both ends.
    pub(super) fn open() -> (Self, Receiver<Request>) {
        let (sender, receiver) = channel();
        (Self(sender), receiver)
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> T {
        let (reply, answer) = channel();
        self.0.send(request(reply)).expect("the caller answers until the evaluation ends");
        answer.recv().expect("the caller answers every question")
    }

    pub(super) fn read(&self, path: &str) -> Result<String, WorldError> {
        self.ask(|reply| Request::Read(path.to_owned(), reply))
    }

    pub(super) fn glob(&self, pattern: &str) -> Result<Vec<SourceFile>, WorldError> {
        self.ask(|reply| Request::Glob(pattern.to_owned(), reply))
    }

    pub(super) fn check(&self, kind: &str, params: Value, connected: Connected) -> Checked {
        self.ask(|reply| Request::Check(kind.to_owned(), params, connected, reply))
    }
}

/// Answers until every asking end is gone.
pub(super) fn serve(requests: &Receiver<Request>, world: &dyn World, registry: &Registry) {
    for request in requests {
        // A closed reply means that the asking thread is unwinding; its end is noticed when it is joined.
        match request {
            Request::Read(path, reply) => drop(reply.send(world.read(&path))),
            Request::Glob(pattern, reply) => drop(reply.send(world.glob(&pattern))),
            Request::Check(kind, params, connected, reply) => {
                let unknown = || Err(vec![ParamError::new("", format!("no step is called `{kind}`"))]);
                let check = |kind: &Kind| {
                    let params = kind.check(&params)?;
                    connected.map_or(Ok(()), |connected| kind.fits(&params, &connected)).map(|()| params)
                };
                drop(reply.send(registry.get(&kind).map_or_else(unknown, check)));
            }
        }
    }
}
