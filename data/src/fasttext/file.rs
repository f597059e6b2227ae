//! The file format of fastText 0.9: bytes to a model and back.
//! Knows nothing of paths. All numbers are little-endian.

use super::dictionary::{Buckets, Dictionary, Entry};
use super::loss::Loss;
use super::matrix::{Matrix, Quantiser};
use super::{Args, Model};

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
const SUPERVISED: i32 = 3;

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or("the file is cut off")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("as many bytes as were taken"))
    }

    fn i32(&mut self) -> Result<i32, String> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64, String> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, String> {
        Ok(self.array::<1>()? != [0])
    }

    /// A number of things that cannot be negative.
    fn size(&mut self, what: &str) -> Result<usize, String> {
        let size = self.i32()?;
        usize::try_from(size).map_err(|_| format!("it claims {size} {what}"))
    }

    fn size64(&mut self, what: &str) -> Result<usize, String> {
        let size = self.i64()?;
        usize::try_from(size).map_err(|_| format!("it claims {size} {what}"))
    }

    fn floats(&mut self, n: usize) -> Result<Vec<f32>, String> {
        let bytes = self.take(n.checked_mul(4).ok_or("the file is cut off")?)?;
        Ok(bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]])).collect())
    }

    fn text(&mut self) -> Result<Box<str>, String> {
        let end = memchr::memchr(0, self.0).ok_or("the file is cut off")?;
        let text = String::from_utf8_lossy(&self.0[..end]).into();
        self.0 = &self.0[end + 1..];
        Ok(text)
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Model, String> {
    let mut bytes = Bytes(bytes);
    if bytes.i32().ok() != Some(MAGIC) {
        return Err("it is no fastText model (.bin or .ftz)".into());
    }
    let version = bytes.i32()?;
    if !(11..=VERSION).contains(&version) {
        return Err(format!("it is of version {version}, and 11 and 12 can be read"));
    }
    let mut args = read_args(&mut bytes)?;
    if args.model != SUPERVISED {
        return Err("it holds word vectors, and a classifier is expected".into());
    }
    if version == 11 {
        // Classifiers of that version have no n-grams of characters, whatever they say.
        args.maxn = 0;
    }
    let dictionary = read_dictionary(&mut bytes, &args)?;
    let quantised = bytes.flag()?;
    let input = read_matrix(&mut bytes, quantised)?;
    let output_quantised = bytes.flag()?;
    let output = read_matrix(&mut bytes, quantised && output_quantised)?;
    if !bytes.0.is_empty() {
        return Err(format!("{} bytes follow its end", bytes.0.len()));
    }
    let rows = dictionary.words()
        + match &dictionary.buckets {
            Buckets::All => usize::try_from(args.bucket).unwrap_or(0),
            Buckets::Some(kept) => kept.len(),
        };
    let dim = usize::try_from(args.dim).unwrap_or(0);
    if dim == 0
        || input.columns() != dim
        || output.columns() != dim
        || input.rows() < rows
        || output.rows() != dictionary.labels.len()
    {
        return Err(format!(
            "its matrices ({}x{}, {}x{}) do not fit {} rows, {} labels and dimension {}",
            input.rows(),
            input.columns(),
            output.rows(),
            output.columns(),
            rows,
            dictionary.labels.len(),
            args.dim
        ));
    }
    let counts: Vec<i64> = dictionary.labels.iter().map(|label| label.count).collect();
    let loss = Loss::new(args.loss, &counts).ok_or_else(|| format!("its loss has number {}, which is none", args.loss))?;
    Ok(Model { args, dictionary, input, output, loss })
}

fn read_args(bytes: &mut Bytes<'_>) -> Result<Args, String> {
    Ok(Args {
        dim: bytes.i32()?,
        ws: bytes.i32()?,
        epoch: bytes.i32()?,
        min_count: bytes.i32()?,
        neg: bytes.i32()?,
        word_ngrams: bytes.i32()?,
        loss: bytes.i32()?,
        model: bytes.i32()?,
        bucket: bytes.i32()?,
        minn: bytes.i32()?,
        maxn: bytes.i32()?,
        lr_update_rate: bytes.i32()?,
        t: f64::from_le_bytes(bytes.array()?),
    })
}

fn read_dictionary(bytes: &mut Bytes<'_>, args: &Args) -> Result<Dictionary, String> {
    let size = bytes.size("entries")?;
    let (n_words, n_labels) = (bytes.size("words")?, bytes.size("labels")?);
    if n_words + n_labels != size || n_labels == 0 {
        return Err(format!("it claims {size} entries, {n_words} words and {n_labels} labels"));
    }
    let tokens = bytes.i64()?;
    let pruned = bytes.i64()?;
    let (mut words, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..size {
        let entry = Entry { text: bytes.text()?, count: bytes.i64()? };
        if bytes.array::<1>()? == [0] { words.push(entry) } else { labels.push(entry) }
    }
    if words.len() != n_words {
        return Err(format!("it claims {n_words} words and holds {}", words.len()));
    }
    let buckets = if pruned < 0 {
        Buckets::All
    } else {
        let mut kept = std::collections::HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4));
        for _ in 0..pruned {
            let (from, to) = (bytes.size("as a bucket")?, bytes.size("as a row")?);
            if to as i64 >= pruned {
                return Err(format!("it keeps {pruned} buckets and sends one to row {to}"));
            }
            kept.insert(from as u32, to as u32);
        }
        Buckets::Some(kept)
    };
    Ok(Dictionary::new(args, words, labels, tokens, buckets))
}

fn read_matrix(bytes: &mut Bytes<'_>, quantised: bool) -> Result<Matrix, String> {
    if !quantised {
        let (rows, columns) = (bytes.size64("rows")?, bytes.size64("columns")?);
        let values = bytes.floats(rows.checked_mul(columns).ok_or("the file is cut off")?)?;
        return Ok(Matrix::Dense { columns, values });
    }
    let with_norms = bytes.flag()?;
    let (rows, _) = (bytes.size64("rows")?, bytes.size64("columns")?);
    let n = bytes.size("codes")?;
    let codes = bytes.take(n)?.to_vec();
    let quantiser = read_quantiser(bytes)?;
    if rows.checked_mul(quantiser.pieces) != Some(n) {
        return Err(format!("{rows} rows of {} codes are not {n} codes", quantiser.pieces));
    }
    let norms = match with_norms {
        true => {
            let codes = bytes.take(rows)?.to_vec();
            let quantiser = read_quantiser(bytes)?;
            if quantiser.dim != 1 {
                return Err("its norms are no numbers".into());
            }
            Some((codes, quantiser))
        }
        false => None,
    };
    Ok(Matrix::Quantised { rows, codes, quantiser, norms })
}

fn read_quantiser(bytes: &mut Bytes<'_>) -> Result<Quantiser, String> {
    let (dim, pieces) = (bytes.size("columns")?, bytes.size("pieces")?);
    let (width, last_width) = (bytes.size("columns in a piece")?, bytes.size("columns in the last piece")?);
    let fits = pieces > 0
        && last_width <= width
        && (pieces - 1).checked_mul(width).and_then(|all| all.checked_add(last_width)) == Some(dim);
    if !fits {
        return Err(format!("{pieces} pieces of {width} and {last_width} columns are not {dim} columns"));
    }
    let centroids = bytes.floats(dim.checked_mul(256).ok_or("the file is cut off")?)?;
    Ok(Quantiser { dim, pieces, width, last_width, centroids })
}

pub(super) fn write(model: &Model) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let Args { dim, ws, epoch, min_count, neg, word_ngrams, loss, model: kind, bucket, minn, maxn, lr_update_rate, t } =
        model.args;
    let numbers = [MAGIC, VERSION, dim, ws, epoch, min_count, neg, word_ngrams, loss, kind, bucket, minn, maxn, lr_update_rate];
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
    out.extend_from_slice(&t.to_le_bytes());
    let dictionary = &model.dictionary;
    let (words, labels) = (dictionary.words.len(), dictionary.labels.len());
    for number in [words + labels, words, labels] {
        let number = i32::try_from(number).map_err(|_| "the vocabulary is too large for the format")?;
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&dictionary.tokens.to_le_bytes());
    out.extend_from_slice(&(-1i64).to_le_bytes());
    for (entries, kind) in [(&dictionary.words, 0u8), (&dictionary.labels, 1)] {
        for entry in entries {
            out.extend_from_slice(entry.text.as_bytes());
            out.push(0);
            out.extend_from_slice(&entry.count.to_le_bytes());
            out.push(kind);
        }
    }
    for matrix in [&model.input, &model.output] {
        let Matrix::Dense { columns, values } = matrix else {
            return Err("a quantised model cannot be written".into());
        };
        out.push(0);
        out.extend_from_slice(&((values.len() / columns) as i64).to_le_bytes());
        out.extend_from_slice(&(*columns as i64).to_le_bytes());
        values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
    Ok(out)
}
