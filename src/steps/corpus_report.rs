//! `corpus_report`: analyses of one or several corpora on one page.

use data::analysis::Analysis;
use plan::{Place, Resources};

use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};
use crate::report::corpus::CorpusReport as Page;

crate::params! {
    /// Parameters of [`CorpusReport`].
    pub struct Params {
        /// Title of the page.
        title: String = "What is in the data".to_owned();
        /// What each analysis is called, in the order they are given; `()` leaves a heading without a name.
        names: Vec<String> = Vec::new();
    }
}

/// See the module.
pub struct CorpusReport;

/// Writes a page as `report.html` and `report.md`.
pub(super) fn write(work: &Work<'_>, page: &Page<'_>) -> Result<(), StepError> {
    fs_err::write(work.out("report.md"), page.markdown())?;
    fs_err::write(work.out("report.html"), page.html())?;
    Ok(())
}

impl Step for CorpusReport {
    type Params = Params;

    fn about() -> About {
        About {
            name: "corpus_report",
            version: 1,
            doc: "Puts the tables of analyses with their drawings on one self-contained page, report.html, and in report.md.",
            ports: &[Port {
                name: "analyses",
                accepts: &[ArtifactType::Analysis],
                arity: Arity::Many,
                doc: "Analyses, in order.",
            }],
            positional: &["title"],
            output: ArtifactType::Report,
            parts: &[],
            place: Place::Thread,
            resources: Resources::default(),
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let mut analyses = Vec::new();
        for (index, input) in work.all("analyses").into_iter().enumerate() {
            analyses.push((params.names.get(index).cloned().unwrap_or_default(), Analysis::open(&input.path)?));
        }
        write(work, &Page { title: &params.title, analyses: &analyses })?;
        let tables = analyses.iter().map(|(_, analysis)| analysis.tables.len()).sum::<usize>();
        Ok(Closing::from([("tables".into(), tables as f64)]))
    }
}
