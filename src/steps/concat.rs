//! `concat`: one file of the bytes of many.

use std::io::{Read, Write};

use fs_err::File;
use plan::{Place, Resources};

use super::layout::Layout;
use super::{About, Arity, ArtifactType, Closing, ParamError, Port, Step, StepError, Work};

crate::params! {
    /// Parameters of [`Concat`].
    pub struct Params {
        /// Name of the file that is made.
        name: String = "data".to_owned();
        /// Most bytes; what comes after them is left out. `()` takes all.
        head: Option<u64> = None;
    }
}

/// See the module.
pub struct Concat;

/// Bytes copied at a time.
const BLOCK: usize = 1 << 18;

impl Step for Concat {
    type Params = Params;

    fn about() -> About {
        About {
            name: "concat",
            version: 1,
            doc: "One file of the bytes of all files of the inputs, in order, and within an artifact by name.",
            ports: &[Port {
                name: "inputs",
                accepts: ArtifactType::ALL,
                arity: Arity::Named,
                doc: "Artifacts, or globs relative to the recipe.",
            }],
            positional: &["name"],
            output: ArtifactType::Files,
            parts: &[],
            place: Place::Thread,
            resources: Resources { cpus: 1, memory_mib: 16, gpus: 0 },
        }
    }

    fn complete(params: &mut Params) -> Result<(), Vec<ParamError>> {
        Layout::check("name", &params.name).map_err(|error| vec![error])
    }

    fn run(params: Params, work: &Work<'_>) -> Result<Closing, StepError> {
        let path = work.out(&params.name);
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder).map_err(StepError::failed)?;
        }
        let mut out = File::create(&path).map_err(StepError::failed)?;
        let mut left = params.head.unwrap_or(u64::MAX);
        let mut block = Vec::new();
        for (_, file) in super::layout::files(&work.inputs)? {
            let mut from = File::open(&file).map_err(StepError::failed)?;
            while left > 0 {
                block.resize(BLOCK.min(usize::try_from(left).unwrap_or(BLOCK)), 0);
                let count = from.read(&mut block).map_err(StepError::failed)?;
                if count == 0 {
                    break;
                }
                out.write_all(&block[..count]).map_err(StepError::failed)?;
                left -= count as u64;
                if work.reporter.should_stop() {
                    return Err(StepError::Interrupted);
                }
            }
        }
        Ok(Closing::from([("bytes".to_owned(), (params.head.unwrap_or(u64::MAX) - left) as f64)]))
    }
}
