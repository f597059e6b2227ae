//! Writes documents as Parquet files, a part each.
//! Knows columns; what was nested becomes JSON text.

use super::{Document, document_files, named, read_document_files};
use crate::error::DataError;
use crate::observe::{Observer, check};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rayon::prelude::*;
use std::path::Path;
use std::sync::Arc;

/// Rows in a group of a file.
const GROUP_ROWS: usize = 1 << 16;

/// Writes the documents artifact `input` as `<part>.parquet` files in `output`, compressed as zstandard; returns the number of documents.
///
/// Columns are `id`, `text`, `source`, `added`, `created`, `version`, and `metadata` and `attributes` as JSON. What a document does not
/// have is null. Held are a batch of documents and a group of rows.
pub fn export_parquet(input: &Path, output: &Path, observer: &dyn Observer) -> Result<u64, DataError> {
    fs_err::create_dir_all(output)?;
    let mut documents = 0;
    for file in named(input, document_files(input)?) {
        let stem = file.name.replace('/', "_");
        let stem = stem.split_once(".json").map_or(stem.as_str(), |(stem, _)| stem);
        let path = output.join(format!("{stem}.parquet"));
        let wrong = |error: parquet::errors::ParquetError| DataError::format(&path, error);
        let zstd = Compression::ZSTD(ZstdLevel::try_new(3).map_err(wrong)?);
        let properties = WriterProperties::builder().set_compression(zstd).set_max_row_group_row_count(Some(GROUP_ROWS)).build();
        let empty = rows(&[])?;
        let target = fs_err::File::create(&path)?.into_parts().0;
        let mut writer = ArrowWriter::try_new(target, empty.schema(), Some(properties)).map_err(wrong)?;
        for batch in read_document_files(vec![file])? {
            check(observer)?;
            let batch = batch?;
            documents += batch.documents.len() as u64;
            writer.write(&rows(&batch.documents)?).map_err(wrong)?;
        }
        writer.close().map_err(wrong)?;
    }
    Ok(documents)
}

fn rows(documents: &[Document]) -> Result<RecordBatch, DataError> {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let json: Vec<Result<[Option<String>; 2], serde_json::Error>> = documents
        .par_iter()
        .map(|document| {
            let metadata = (!document.metadata.is_empty()).then(|| serde_json::to_string(&document.metadata)).transpose()?;
            let attributes =
                (!document.attributes.is_empty()).then(|| serde_json::to_string(&document.attributes)).transpose()?;
            Ok([metadata, attributes])
        })
        .collect();
    let json = json.into_iter().collect::<Result<Vec<_>, _>>().map_err(std::io::Error::from)?;
    let column = |value: &dyn Fn(&Document) -> Option<String>| -> ArrayRef {
        Arc::new(documents.iter().map(value).collect::<StringArray>())
    };
    let nested = |index: usize| -> ArrayRef { Arc::new(json.iter().map(|both| both[index].clone()).collect::<StringArray>()) };
    let columns = [
        ("id", column(&|document| Some(document.id.clone())), false),
        ("text", column(&|document| Some(document.text.clone())), false),
        ("source", column(&|document| some(&document.source)), true),
        ("added", column(&|document| some(&document.added)), true),
        ("created", column(&|document| some(&document.created)), true),
        ("version", column(&|document| document.version.clone()), true),
        ("metadata", nested(0), true),
        ("attributes", nested(1), true),
    ];
    RecordBatch::try_from_iter_with_nullable(columns).map_err(|error| DataError::Io(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Span;
    use crate::source::parquet::read_parquet;
    use crate::source::{Care, expand_named, jsonl::Fields};
    use crate::testing::{documents, read, write};
    use arrow::array::{Array, AsArray};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn columns_come_back() {
        let mut all = documents(&["one", "zwei ünï", ""]);
        all[1].metadata.insert("n".into(), 7.into());
        all[1].attributes.insert("t__t__n".into(), vec![Span { start: 0, end: 3, score: 0.5 }]);
        let (output, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert_eq!(export_parquet(write(&all).path(), output.path(), &()).unwrap(), 3);
        let path = output.path().join("part-00000.parquet");
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(&path).unwrap()).unwrap().build().unwrap();
        let batch = reader.into_iter().next().unwrap().unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        assert_eq!((column("metadata").value(1), column("attributes").value(1)), (r#"{"n":7}"#, r#"{"t__t__n":[[0,3,0.5]]}"#));
        assert!(column("metadata").is_null(0) && column("added").is_null(0) && column("text").is_valid(2));
        let files = expand_named(&[path.display().to_string()]).unwrap();
        read_parquet(&files, &Fields::default(), Care::default(), again.path(), &()).unwrap();
        for document in &mut all {
            document.metadata.clear();
            document.attributes.clear();
        }
        assert_eq!(read(again.path()), all);
    }
}
