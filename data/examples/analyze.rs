//! Analyses of documents without a recipe, for measurements: `analyze OUT SUMMARY|common_ngrams|... N[,N] K DIR...`.

use data::analysis::{AnalysisParams, analyze};
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [output, names, ngrams, rows, inputs @ ..] = arguments.as_slice() else {
        return Err("give OUT ANALYSIS[,ANALYSIS] N[,N] ROWS DIR...".into());
    };
    let mut params = AnalysisParams::new(&names.split(',').collect::<Vec<_>>());
    params.ngrams = ngrams.split(',').map(str::parse).collect::<Result<_, _>>()?;
    params.rows = rows.parse()?;
    let inputs: Vec<PathBuf> = inputs.iter().map(PathBuf::from).collect();
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let output = Path::new(output);
    analyze(&inputs, &params, &output.join("scratch"), output, &())?;
    Ok(())
}
