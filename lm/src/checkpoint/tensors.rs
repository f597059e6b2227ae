//! Files of tensors (safetensors): read one tensor at a time and widened, written as they come.
//!
//! No file is ever held as a whole. Knows no model: names and shapes are the caller's.

use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fs_err as fs;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::CheckpointError;
use crate::weights::Array;

/// No header is longer, by the format's own rule.
const MAX_HEADER: u64 = 100_000_000;
/// Values converted at a time.
const CHUNK: usize = 1 << 18;

/// How weights are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// The upper 16 bits of those, rounded to even.
    Bf16,
    /// IEEE 754 half precision; its largest value is 65504.
    F16,
}

impl Precision {
    /// The name that `config.json` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Bytes of a value.
    pub fn size(self) -> u64 {
        if self == Self::F32 { 4 } else { 2 }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
}

/// One tensor of an open file.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    dtype: String,
    start: u64,
}

impl Entry {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file of tensors whose header has been read and found sound.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: std::fs::File,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// Bytes of a value of a type, where this program knows the type.
fn value_size(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" => 1,
        "BF16" | "F16" | "I16" | "U16" => 2,
        "F32" | "I32" | "U32" => 4,
        "F64" | "I64" | "U64" => 8,
        _ => return None,
    })
}

impl TensorFile {
    /// Opens a file and checks its header against its length.
    ///
    /// # Errors
    /// When it is missing, truncated, or no safetensors file.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let fail = |reason: String| CheckpointError::Tensors { path: path.to_path_buf(), reason };
        let file = fs::File::open(path)?.into_parts().0;
        let length = file.metadata()?.len();
        let mut size = [0; 8];
        if length < 8 {
            return Err(fail(format!("it has {length} bytes, too few for a safetensors file")));
        }
        file.read_exact_at(&mut size, 0)?;
        let header = u64::from_le_bytes(size);
        if header > MAX_HEADER || header + 8 > length {
            return Err(fail(format!(
                "its header would take {header} bytes, but the file has {length}; it is truncated or no safetensors file"
            )));
        }
        let mut text = vec![0; header as usize];
        file.read_exact_at(&mut text, 8)?;
        let header_json: Map<String, Value> =
            serde_json::from_slice(&text).map_err(|error| fail(format!("its header is damaged: {error}")))?;
        let (data, available) = (8 + header, length - 8 - header);
        let mut entries = Vec::new();
        let mut end = 0;
        for (name, info) in header_json {
            if name == "__metadata__" {
                continue;
            }
            let Info { dtype, shape, data_offsets: [from, to] } = serde_json::from_value(info)
                .map_err(|error| fail(format!("the header of tensor `{name}` is damaged: {error}")))?;
            let values = shape.iter().try_fold(1_u64, |n, axis| n.checked_mul(*axis as u64));
            let bytes = value_size(&dtype).and_then(|size| values?.checked_mul(size));
            if to < from || values.is_none() || bytes.is_some_and(|bytes| bytes != to - from) {
                return Err(fail(format!("tensor `{name}` of type {dtype} and shape {shape:?} has bytes {from} to {to}")));
            }
            if to > available {
                return Err(fail(format!(
                    "tensor `{name}` ends at byte {to} of the data, but only {available} are there; the file is truncated"
                )));
            }
            end = end.max(to);
            entries.push(Entry { name, shape, dtype, start: data + from });
        }
        if end != available {
            return Err(fail(format!("its tensors take {end} bytes, but {available} are there; the file is damaged")));
        }
        Ok(Self { path: path.to_path_buf(), file, entries })
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its tensors, in the order of the header.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// When there is none; the message names those there are.
    pub fn entry(&self, name: &str) -> Result<&Entry, CheckpointError> {
        self.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let mut known: Vec<&str> = self.entries.iter().take(12).map(|entry| entry.name.as_str()).collect();
            if self.entries.len() > known.len() {
                known.push("...");
            }
            self.fault(format!("there is no tensor `{name}`; there are: {}", known.join(", ")))
        })
    }

    fn fault(&self, reason: String) -> CheckpointError {
        CheckpointError::Tensors { path: self.path.clone(), reason }
    }

    /// The values of a tensor of floats, widened to 32 bits.
    ///
    /// # Errors
    /// When its type is another, or the file cannot be read.
    pub fn floats(&self, entry: &Entry) -> Result<Array, CheckpointError> {
        let mut data = vec![0.0; entry.len()];
        let convert: fn([u8; 2]) -> f32 = match entry.dtype.as_str() {
            "F32" => {
                self.file.read_exact_at(bytemuck::cast_slice_mut(&mut data), entry.start)?;
                return Ok(Array::new(entry.shape.clone(), data));
            }
            "BF16" => |bytes| half::bf16::from_le_bytes(bytes).to_f32(),
            "F16" => |bytes| half::f16::from_le_bytes(bytes).to_f32(),
            other => {
                let name = &entry.name;
                return Err(self.fault(format!("tensor `{name}` has type {other}; weights are read from F32, BF16 and F16")));
            }
        };
        let mut bytes = vec![0; 2 * CHUNK.min(data.len())];
        for (index, values) in data.chunks_mut(CHUNK).enumerate() {
            let bytes = &mut bytes[..2 * values.len()];
            self.file.read_exact_at(bytes, entry.start + (2 * CHUNK * index) as u64)?;
            for (value, pair) in values.iter_mut().zip(bytes.chunks_exact(2)) {
                *value = convert([pair[0], pair[1]]);
            }
        }
        Ok(Array::new(entry.shape.clone(), data))
    }

    /// The values of a tensor of integers.
    ///
    /// # Errors
    /// When its type is another, or the file cannot be read.
    pub fn integers(&self, entry: &Entry) -> Result<Vec<i64>, CheckpointError> {
        let size = match entry.dtype.as_str() {
            "U8" => 1,
            "I16" | "U16" => 2,
            "I32" | "U32" => 4,
            "I64" => 8,
            other => {
                let name = &entry.name;
                return Err(self.fault(format!("tensor `{name}` has type {other}; token ids are integers, as I64 or I32")));
            }
        };
        let mut bytes = vec![0; entry.len() * size];
        self.file.read_exact_at(&mut bytes, entry.start)?;
        let signed = entry.dtype.starts_with('I');
        let value = |part: &[u8]| {
            let negative = signed && part[size - 1] >= 0x80;
            let mut whole = [if negative { 0xff } else { 0 }; 8];
            whole[..size].copy_from_slice(part);
            i64::from_le_bytes(whole)
        };
        Ok(bytes.chunks_exact(size).map(value).collect())
    }
}

/// Writes a file of floats whose tensors come one after the other.
#[derive(Debug)]
pub struct TensorWriter {
    path: PathBuf,
    out: BufWriter<fs::File>,
    precision: Precision,
    /// Name of each tensor, and its values that are still to come.
    expected: std::collections::VecDeque<(String, usize)>,
}

impl TensorWriter {
    /// Starts a file of tensors with these names and shapes, all of one precision; their values follow in this order. The
    /// same tensors give the same bytes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, precision: Precision, tensors: &[(&str, &[usize])]) -> Result<Self, CheckpointError> {
        let mut offset = 0;
        let info = |(name, shape): &(&str, &[usize])| {
            let bytes = shape.iter().product::<usize>() * precision.size() as usize;
            let start = offset;
            offset += bytes;
            let info = TensorInfo { dtype: precision.dtype(), shape: shape.to_vec(), data_offsets: (start, offset) };
            ((*name).to_string(), info)
        };
        let infos = tensors.iter().map(info).collect();
        let format = std::iter::once(("format".to_string(), "pt".to_string())).collect();
        let fail = |reason: String| CheckpointError::Tensors { path: path.to_path_buf(), reason };
        let metadata = Metadata::new(Some(format), infos).map_err(|error| fail(error.to_string()))?;
        let mut header = serde_json::to_vec(&metadata).map_err(|error| fail(error.to_string()))?;
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        let expected = tensors.iter().map(|(name, shape)| ((*name).to_string(), shape.iter().product())).collect();
        Ok(Self { path: path.to_path_buf(), out, precision, expected })
    }

    /// Adds values of the tensor whose turn it is.
    ///
    /// # Errors
    /// When the file cannot be written, or a finite value is too large for the precision.
    ///
    /// # Panics
    /// When more values come than were announced.
    pub fn write(&mut self, values: &[f32]) -> Result<(), CheckpointError> {
        while self.expected.front().is_some_and(|(_, left)| *left == 0) {
            self.expected.pop_front();
        }
        let Some((name, left)) = self.expected.front_mut() else {
            assert!(values.is_empty(), "every announced value is there already");
            return Ok(());
        };
        *left = left.checked_sub(values.len()).expect("values come tensor by tensor");
        if self.precision == Precision::F32 {
            return Ok(self.out.write_all(bytemuck::cast_slice(values))?);
        }
        for chunk in values.chunks(CHUNK) {
            let bytes: Vec<u8> = if self.precision == Precision::Bf16 {
                chunk.iter().flat_map(|value| half::bf16::from_f32(*value).to_le_bytes()).collect()
            } else {
                let lost = |value: &&f32| value.is_finite() && !half::f16::from_f32(**value).is_finite();
                if let Some(value) = chunk.iter().find(lost) {
                    let reason = format!("tensor `{name}` holds {value}, too large for float16; write bfloat16 or float32");
                    return Err(CheckpointError::Tensors { path: self.path.clone(), reason });
                }
                chunk.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
            };
            self.out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it cannot be written.
    ///
    /// # Panics
    /// When values are missing.
    pub fn finish(mut self) -> Result<(), CheckpointError> {
        assert!(self.expected.iter().all(|(_, left)| *left == 0), "every announced value was written");
        self.out.flush()?;
        Ok(())
    }
}
