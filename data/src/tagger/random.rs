//! A number for each document that looks drawn, for sampling by a threshold.
//! Knows the document's id only. Dolma's numbers come from a generator seeded with the process id and cannot be had again; these are
//! hashes of a seed and the id, the same in any run and for any order of documents.

use super::{Emitted, Found, Shape, Tagger, Text};
use crate::document::Document;
use crate::hash::{choice, unit};

/// `random_number_v1`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random {
    pub(crate) seed: u64,
}

impl Tagger for Random {
    fn name(&self) -> &str {
        "random_number_v1"
    }

    fn group(&self) -> &'static str {
        "random"
    }

    fn types(&self) -> &'static [Emitted] {
        &[Emitted { name: "random", field: "number", shape: Shape::Score }]
    }

    fn tag(&self, document: &Document, text: &Text<'_>) -> Found {
        let drawn = unit(choice("random_number_v1", self.seed, &[document.id.as_bytes()]));
        Found::one("random", text.whole(drawn))
    }
}
