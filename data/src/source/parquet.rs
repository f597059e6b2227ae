//! Documents from Parquet files: a text column, and optionally an id column.
//! Knows no other column; nested columns are not looked into.

use super::intake::{Care, Imported, Intake};
use super::jsonl::Fields;
use crate::document::{Document, InputFile};
use crate::error::DataError;
use crate::observe::{Observer, check};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::path::Path;

/// Rows decoded at a time.
const ROWS_AT_ONCE: usize = 8192;

/// Reads the text and id columns of files, in the order given, into `output`. Rows without an id get `<file>:<row>` (from 1); rows whose
/// text is null are left out. A file that cannot be read is an error whatever `care` says: it has no rows. Progress counts bytes of
/// files.
pub fn read_parquet(
    files: &[InputFile],
    fields: &Fields,
    care: Care,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Imported, DataError> {
    let mut intake = Intake::create(output, care, observer)?;
    let mut total = 0;
    for file in files {
        total += fs_err::metadata(&file.path)?.len();
    }
    let mut done = 0;
    for file in files {
        read_file(file, fields, &mut intake, observer)?;
        done += fs_err::metadata(&file.path)?.len();
        observer.progress(done, Some(total));
    }
    intake.finish()
}

fn read_file(input: &InputFile, fields: &Fields, intake: &mut Intake<'_>, observer: &dyn Observer) -> Result<(), DataError> {
    let (path, name) = (&input.path, &input.name);
    let format = |error: &dyn std::fmt::Display| DataError::format(path, error);
    let file = fs_err::File::open(path)?.into_parts().0;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| format(&error))?;
    let columns: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    if !columns.contains(&fields.text) {
        return Err(DataError::format(path, format!("no column `{}`; the columns are {}", fields.text, columns.join(", "))));
    }
    let wanted: Vec<&str> = [fields.text.as_str(), fields.id.as_str(), "source"]
        .into_iter()
        .filter(|name| columns.iter().any(|column| column == name))
        .collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(ROWS_AT_ONCE).build().map_err(|error| format(&error))?;
    let mut row = 0u64;
    for batch in reader {
        check(observer)?;
        let batch = batch.map_err(|error| format(&error))?;
        let column = |name: &str| batch.column_by_name(name).map(|array| strings(array, path, name)).transpose();
        let (text, id, source) = (column(&fields.text)?, column(&fields.id)?, column("source")?);
        let mut documents = Vec::with_capacity(batch.num_rows());
        for i in 0..batch.num_rows() {
            row += 1;
            let value = |array: &Option<ArrayRef>| -> Option<String> {
                let array = array.as_ref()?.as_string::<i32>();
                array.is_valid(i).then(|| array.value(i).to_owned())
            };
            let Some(text) = value(&text) else { continue };
            let id = value(&id).unwrap_or_else(|| format!("{name}:{row}"));
            let source = fields.source.clone().or_else(|| value(&source)).unwrap_or_default();
            documents.push((row, Document::new(id, text, source)));
        }
        intake.take(input, documents, Vec::new())?;
    }
    Ok(())
}

/// A column as strings, whatever kind of string or number it holds.
fn strings(array: &ArrayRef, path: &Path, name: &str) -> Result<ArrayRef, DataError> {
    arrow::compute::cast(array, &DataType::Utf8)
        .map_err(|_| DataError::format(path, format!("column `{name}` holds {}, which is no text", array.data_type())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::expand_named;
    use crate::testing::read;
    use arrow::array::{Int64Array, LargeStringArray, RecordBatch};
    use std::sync::Arc;

    #[test]
    fn text_and_id_columns() {
        let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![7, 8, 9])) as ArrayRef),
            ("content", Arc::new(LargeStringArray::from(vec![Some("one"), None, Some("drei")])) as ArrayRef),
        ])
        .unwrap();
        let path = dir.path().join("a.parquet");
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(std::fs::File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let files = expand_named(&[path.display().to_string()]).unwrap();
        let fields = Fields { text: "content".into(), id: "n".into(), source: Some("web".into()) };
        read_parquet(&files, &fields, Care::default(), output.path(), &()).unwrap();
        assert_eq!(read(output.path()), [Document::new("7", "one", "web"), Document::new("9", "drei", "web")]);
        let error = read_parquet(&files, &Fields::default(), Care::default(), output.path(), &()).unwrap_err().to_string();
        assert!(error.ends_with("no column `text`; the columns are n, content"), "{error}");
        fs_err::write(&path, b"PAR1 no").unwrap();
        assert!(matches!(read_parquet(&files, &fields, Care::default(), output.path(), &()), Err(DataError::Format { .. })));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]
        #[test]
        fn damaged_files_never_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let (dir, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let path = dir.path().join("a.parquet");
            let length = (bytes.len() as u32).to_le_bytes();
            fs_err::write(&path, [b"PAR1", bytes.as_slice(), &length, b"PAR1"].concat()).unwrap();
            let files = expand_named(&[path.display().to_string()]).unwrap();
            let _ = read_parquet(&files, &Fields::default(), Care::default(), output.path(), &());
        }
    }
}
