//! Samples as tensors: one row per sample, filled up to the same length.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use super::Sample;
use crate::checkpoint::CheckpointError;

/// Samples side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct Rectangle {
    /// Number of samples, `B`.
    pub rows: usize,
    /// Tokens of each, `N`.
    pub length: usize,
    /// `[B, N]`.
    pub tokens: Vec<i64>,
    /// Log-probability of each token (see [`Sample::logprobs`]), 0 where a row was filled up: `[B, N]`.
    pub logprobs: Vec<f32>,
}

impl Rectangle {
    /// Rows of `length` tokens; a shorter sample is filled up with `pad`.
    ///
    /// # Panics
    /// When a sample is longer.
    pub fn new(samples: &[Sample], length: usize, pad: u32) -> Self {
        let mut rectangle = Self { rows: samples.len(), length, tokens: Vec::new(), logprobs: Vec::new() };
        for sample in samples {
            let missing = length.checked_sub(sample.ids.len()).expect("no sample is longer than a row");
            rectangle.tokens.extend(sample.ids.iter().map(|id| i64::from(*id)));
            rectangle.tokens.extend(std::iter::repeat_n(i64::from(pad), missing));
            rectangle.logprobs.extend(sample.logprobs.iter().map(|logprob| *logprob as f32));
            rectangle.logprobs.extend(std::iter::repeat_n(0.0, missing));
        }
        rectangle
    }
}

/// Writes `tokens` (int64) and `logprobs` (float32) to a safetensors file, which is complete or not there.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, rectangle: &Rectangle) -> Result<(), CheckpointError> {
    let fail =
        |error: safetensors::SafeTensorError| CheckpointError::Tensors { path: path.to_path_buf(), reason: error.to_string() };
    let shape = vec![rectangle.rows, rectangle.length];
    let tokens: Vec<u8> = rectangle.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    let logprobs: Vec<u8> = rectangle.logprobs.iter().flat_map(|logprob| logprob.to_le_bytes()).collect();
    let views = [
        ("logprobs", TensorView::new(Dtype::F32, shape.clone(), &logprobs).map_err(fail)?),
        ("tokens", TensorView::new(Dtype::I64, shape, &tokens).map_err(fail)?),
    ];
    let bytes = safetensors::serialize(views, None).map_err(fail)?;
    let partial = path.with_extension("partial");
    fs_err::write(&partial, bytes)?;
    fs_err::rename(&partial, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::tensors::TensorFile;
    use crate::generate::Drawn;

    #[test]
    fn short_samples_are_filled_up_and_read_back() {
        let mut samples = [Sample::default(), Sample::default()];
        for (sample, ids) in samples.iter_mut().zip([[7_u32, 8, 9].as_slice(), &[5]]) {
            ids.iter().for_each(|id| sample.push(Drawn { id: *id, logprob: -0.5 * f64::from(*id) }));
        }
        let rectangle = Rectangle::new(&samples, 3, 1);
        assert_eq!(rectangle.tokens, [7, 8, 9, 5, 1, 1]);
        assert_eq!(rectangle.logprobs, [-3.5, -4.0, -4.5, -2.5, 0.0, 0.0]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.safetensors");
        write(&path, &rectangle).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let tokens = file.entry("tokens").unwrap();
        assert_eq!((tokens.shape.as_slice(), file.integers(tokens).unwrap()), ([2, 3].as_slice(), rectangle.tokens));
        assert_eq!(file.floats(file.entry("logprobs").unwrap()).unwrap().data, rectangle.logprobs);
    }
}
