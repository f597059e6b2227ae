//! `tag_urls`: whether the address of each document is on lists of domains or addresses.

use data::tagger::{Needs, tag, taggers_with};
use plan::{Place, Resources};

use super::bridge::{DataObserver, census};
use super::tag::Quirks;
use super::{About, Arity, ArtifactType, Closing, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`TagUrls`].
    pub struct Params {
        /// `dolma-1.2` keeps the quirks of Dolma 1.2.1, `none` mends them.
        compat: Quirks = Quirks::Mended;
    }
}

/// See the module.
pub struct TagUrls;

impl Step for TagUrls {
    type Params = Params;

    fn about() -> About {
        About {
            name: "tag_urls",
            version: 1,
            doc: "Marks documents whose `metadata.url` is on a list, as Dolma's url taggers do. A list is a file under the name of its \
                  tagger: `tag_urls(#{ lists: #{ domain_blocklist_mine: \"bad.txt\" } })`. Names that begin with `link_` look up host and \
                  path, names with `_abp` read the ||domain^ rules of Adblock lists, all others look up the host. Lines are hosts, \
                  addresses, `IP host` or ||host^. Dolma takes every leading `w` off a host, here `www.` is taken off once.",
            ports: &[
                Port { name: "documents", accepts: &[ArtifactType::Documents], arity: Arity::One, doc: "Documents." },
                Port {
                    name: "lists",
                    accepts: &[ArtifactType::Files],
                    arity: Arity::Named,
                    doc: "Lists, as a map from the tagger's name to its file.",
                },
            ],
            positional: &[],
            output: ArtifactType::Documents,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 64, memory_mib: 1024, gpus: 0 },
        }
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let named = |port: &str| port.strip_prefix("lists.").map(str::to_owned);
        let lists: Vec<_> = work.inputs.iter().filter_map(|input| Some((named(&input.port)?, input.path.clone()))).collect();
        if lists.is_empty() || work.inputs.iter().any(|input| input.port == "lists") {
            let text = "every list needs the name of its tagger: lists: #{ domain_blocklist_mine: \"bad.txt\" }";
            return Err(StepError::Failed(text.into()));
        }
        let needs = Needs { compat: params.compat.compat(), lists, ..Needs::default() };
        let taggers = taggers_with(&[""; 0], &needs)?;
        let observer = DataObserver::new(work.reporter, "bytes");
        tag(&work.input("documents")?.path, &work.out, &taggers, needs.compat, &observer)?;
        Ok(census(&work.out)?)
    }
}
