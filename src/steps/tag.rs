//! `tag`: adds what taggers find to documents, as Dolma attributes.

use data::tagger::quality::Preset as Rules;
use data::tagger::{Compat, Needs, Tagger, tag, taggers, taggers_with, with_tokenizer};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::choices! {
    /// Whose rules taggers follow where Dolma's have a quirk.
    pub enum Quirks {
        /// What each rule was meant to be.
        Mended = "none",
        /// Dolma 1.2.1 to the last digit.
        Dolma = "dolma-1.2",
    }
}

impl Quirks {
    /// The same to the data room.
    pub(super) fn compat(self) -> Compat {
        match self {
            Self::Mended => Compat::None,
            Self::Dolma => Compat::Dolma12,
        }
    }
}

crate::choices! {
    /// Published rule sets.
    pub enum Preset {
        /// None.
        None = "none",
        /// Gopher's rules as Dolma 1.5 and 1.7 applied them.
        Dolma = "dolma",
        /// Gopher's filters of datatrove.
        Datatrove = "datatrove",
        /// Those, and FineWeb's.
        Fineweb = "fineweb",
        /// The heuristic filters of Dolma 3.
        Olmo3 = "olmo3",
    }
}

impl Preset {
    /// The same to the data room.
    pub(super) fn rules(self) -> Option<Rules> {
        match self {
            Self::None => None,
            Self::Dolma => Some(Rules::Dolma),
            Self::Datatrove => Some(Rules::Datatrove),
            Self::Fineweb => Some(Rules::Fineweb),
            Self::Olmo3 => Some(Rules::Olmo3),
        }
    }
}

crate::params! {
    /// Parameters of [`Tag`].
    pub struct Params {
        /// Taggers by name (`gopher_v1`) or by group (`gopher`).
        taggers: Vec<String> = Vec::new();
        /// A published rule set, whose values and broken rules are added: `none`, `dolma`, `datatrove`, `fineweb`, `olmo3`.
        preset: Preset = Preset::None;
        /// `dolma-1.2` keeps the quirks of Dolma 1.2.1, `none` mends them.
        compat: Quirks = Quirks::Mended;
        /// Decides the numbers of `random_number_v1`.
        seed: u64 = 0;
    }
}

/// See the module.
pub struct Tag;

/// The port for one set of documents.
pub(super) const DOCUMENTS: &[Port] =
    &[Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." }];

impl Step for Tag {
    type Params = Params;

    fn about() -> About {
        About {
            name: "tag",
            version: 2,
            doc: "Runs taggers over documents in one pass and keeps what they find as Dolma attributes, which a filter sees as \
                  `doc.gopher.word_count`, `doc.pii.count` and so on. Taggers are Dolma's, and where Dolma 1.2.1 has a quirk they \
                  do what was meant unless `compat` is `dolma-1.2`: pii spans are the address itself and doc_frac is its share; \
                  whitespace_tokenizer, redpajama count tokens and not tokens + 1; uniseg_length_v1 counts no space; c4_v2 offsets \
                  are those of the text, not of its lower case; gopher's share of characters in duplicate lines cannot exceed 1; a \
                  comment_block holds its newlines; a repetition of a paragraph cannot begin before it. \
                  random_number_v1 is a hash of `seed` and the id in either mode. The tokenizer_repetitions taggers need a tokenizer.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." },
                Port {
                    name: "tokenizer",
                    accepts: &[ArtifactType::Tokenizer],
                    arity: Arity::Optional,
                    doc: "For the tokenizer_repetitions taggers.",
                },
            ],
            positional: &["taggers"],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 512, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        // Group names become tagger names, so that a new default tagger of a group is a new key.
        let mut errors = Vec::new();
        for name in &mut params.taggers {
            if with_tokenizer().any(|known| known == name) {
                continue;
            }
            match taggers(&[&*name]) {
                Ok(found) => *name = found.iter().map(|tagger| tagger.name()).collect(),
                Err(error) => errors.push(ParamError::new("taggers", error.to_string())),
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let needs = Needs {
            compat: params.compat.compat(),
            seed: params.seed,
            tokenizer: work.maybe("tokenizer").map(|input| input.path.clone()),
            lists: Vec::new(),
        };
        let mut found = taggers_with(&params.taggers, &needs)?;
        found.extend(params.preset.rules().map(|rules| Box::new(rules) as Box<dyn Tagger>));
        if found.is_empty() {
            return Err(StepError::Failed("there is nothing to tag with; name taggers or a preset".into()));
        }
        let observer = DataObserver::new(work.reporter, "bytes");
        tag(&work.input("documents")?.path, &work.out, &found, needs.compat, &observer)?;
        Ok(census(&work.out)?)
    }
}
