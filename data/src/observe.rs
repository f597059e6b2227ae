//! How long operations of this crate talk to whoever started them: progress, measurements, cancellation.
//! Knows no terminal, event or step; an implementation decides what becomes of the numbers.

use crate::error::DataError;

/// Listens to a long operation and may ask it to stop.
///
/// Every method has a default that does nothing, so `&()` is a silent observer.
pub trait Observer: Sync {
    /// `done` of `total` units are finished. Units are bytes of the input as stored (compressed), unless the operation says
    /// otherwise; `total` is `None` when it cannot be known in advance.
    fn progress(&self, done: u64, total: Option<u64>) {
        let _ = (done, total);
    }

    /// A named measurement, such as the number of documents kept.
    fn metric(&self, name: &str, value: f64) {
        let _ = (name, value);
    }

    /// A line for people, such as what is wrong with a row that is left out.
    fn note(&self, line: &str) {
        let _ = line;
    }

    /// Polled between batches; once true the operation returns [`DataError::Cancelled`].
    fn should_stop(&self) -> bool {
        false
    }
}

impl Observer for () {}

/// Turns a request to stop into the error that unwinds the operation.
pub(crate) fn check(observer: &dyn Observer) -> Result<(), DataError> {
    if observer.should_stop() {
        return Err(DataError::Cancelled);
    }
    Ok(())
}
