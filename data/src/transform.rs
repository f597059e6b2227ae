//! The loop that all operations over a corpus share: batch after batch, with progress and cancellation.
//! Does not know what is done with a batch.

use crate::document::{Batch, read_documents};
use crate::error::DataError;
use crate::observe::{Observer, check};
use std::path::Path;

/// Calls `each` with all batches of a documents artifact, in order.
pub(crate) fn for_each_batch(
    input: &Path,
    observer: &dyn Observer,
    mut each: impl FnMut(Batch) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let mut reader = read_documents(input)?;
    while let Some(batch) = reader.next() {
        check(observer)?;
        each(batch?)?;
        let (done, total) = reader.position();
        observer.progress(done, Some(total));
    }
    check(observer)
}
