//! Parquet files straight from DuckDB's arrow batches.

use std::path::Path;
use std::sync::Arc;

use duckdb::arrow::array::RecordBatch;
use duckdb::arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use crate::error::Error;
use crate::table::Table;

pub(super) fn write(table: &Table, path: &Path) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = std::path::PathBuf::from(name);
    let written = write_all(table, &part).map_err(|text| Error::Parquet { path: path.to_owned(), text });
    match written {
        Ok(()) => Ok(fs_err::rename(&part, path)?),
        Err(error) => {
            // The error that led here is the one to tell.
            let _ = fs_err::remove_file(&part);
            Err(error)
        }
    }
}

fn write_all(table: &Table, path: &Path) -> Result<(), String> {
    let text = |error: parquet::errors::ParquetError| error.to_string();
    // Parquet wants each column's name once.
    let fields = table.schema().fields().iter().zip(table.unique_names());
    let fields: Vec<Field> = fields.map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = fs_err::File::create(path).map_err(|error| error.to_string())?;
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(text)?;
    for batch in table.batches() {
        let batch = RecordBatch::try_new(schema.clone(), batch.columns().to_vec()).map_err(|error| error.to_string())?;
        writer.write(&batch).map_err(text)?;
    }
    let file = writer.into_inner().map_err(text)?;
    file.sync_all().map_err(|error| error.to_string())
}
