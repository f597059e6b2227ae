//! Questions that have a name, each as SQL text in a file of its own. It does not know how they are asked for.

/// A question with what it is about. A step, checkpoint or artifact is given by a step's name, meaning its key in the newest run
/// that knows it, or by the first six or more digits of a key or digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question<'a> {
    /// What made this: every step upstream, nearest first, with kind, run, parameters and files from outside.
    Made {
        /// Step, key or digest.
        what: &'a str,
    },
    /// What was made from this: every step downstream, nearest first.
    Used {
        /// Step, key or digest.
        what: &'a str,
    },
    /// Which documents, by licence and by source, each step upstream of this held, nearest first.
    Documents {
        /// Step, key or digest.
        what: &'a str,
    },
    /// What each step of a run cost: seconds, tokens and floating-point operations spent by this run, and seconds that hits saved.
    Cost {
        /// Run.
        run: &'a str,
    },
    /// Recipe parameters, step parameters, versions and steps in which two runs differ.
    Differences {
        /// One run.
        before: &'a str,
        /// The other run.
        after: &'a str,
    },
    /// Closing figures of two runs side by side, by step and metric; licences and sources are left out.
    Results {
        /// One run.
        before: &'a str,
        /// The other run.
        after: &'a str,
    },
}

/// Name, what it answers, and SQL of every [`Question`]; `$1` and `$2` are its arguments.
pub const QUESTIONS: [(&str, &str, &str); 6] = [
    ("made", "what made this: every step upstream, with its parameters", include_str!("question/made.sql")),
    ("used", "what was made from this: every step downstream", include_str!("question/used.sql")),
    ("documents", "which documents it saw, by licence and source", include_str!("question/documents.sql")),
    ("cost", "what each step of a run cost", include_str!("question/cost.sql")),
    ("differences", "parameters in which two runs differ", include_str!("question/differences.sql")),
    ("results", "closing figures of two runs side by side", include_str!("question/results.sql")),
];

impl<'a> Question<'a> {
    /// Its SQL.
    pub fn sql(&self) -> &'static str {
        let index = match self {
            Self::Made { .. } => 0,
            Self::Used { .. } => 1,
            Self::Documents { .. } => 2,
            Self::Cost { .. } => 3,
            Self::Differences { .. } => 4,
            Self::Results { .. } => 5,
        };
        QUESTIONS[index].2
    }

    /// The values of `$1`, `$2`.
    pub fn arguments(&self) -> Vec<&'a str> {
        match *self {
            Self::Made { what } | Self::Used { what } | Self::Documents { what } => vec![what],
            Self::Cost { run } => vec![run],
            Self::Differences { before, after } | Self::Results { before, after } => vec![before, after],
        }
    }
}
