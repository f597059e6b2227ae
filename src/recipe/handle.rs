//! [`Handle`]: what a recipe holds instead of an artifact. It does not know how declarations are kept.

use plan::StepId;

use crate::steps::ArtifactType;

/// A reference to what a declared step will make, or to a named part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    /// The step; none for a placeholder that stands in after a mistake.
    pub(super) step: Option<StepId>,
    /// The kind of the step; empty for a placeholder of unknown kind.
    pub(super) kind: String,
    /// What it is; none when that is unknown.
    pub(super) artifact: Option<ArtifactType>,
    /// The part that is meant, when it is not all of it.
    pub(super) part: Option<&'static str>,
}

/// The name of the handles' type in scripts: `fn step.my_method() { ... }`.
pub(super) const TYPE_NAME: &str = "step";

impl Handle {
    /// A placeholder that fits everywhere.
    pub(super) fn unknown() -> Self {
        Self { step: None, kind: String::new(), artifact: None, part: None }
    }

    /// What it is, with an article: `a checkpoint`, `documents`.
    pub(super) fn described(&self) -> String {
        self.artifact.map_or_else(|| "an unknown artifact".to_owned(), described)
    }
}

/// An artifact type with its article.
pub(super) fn described(artifact: ArtifactType) -> String {
    let name = artifact.name();
    if name.ends_with('s') { name.to_owned() } else { format!("a {name}") }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} from {}", self.artifact.map_or("unknown", ArtifactType::name), self.kind)?;
        self.part.map_or(Ok(()), |part| write!(f, ".{part}"))
    }
}
