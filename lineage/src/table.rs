//! The answer to a query: named, typed columns and rows. It does not know how it is shown.

use std::fmt;

use duckdb::arrow::array::{Array, AsArray, RecordBatch};
use duckdb::arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, SchemaRef, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use duckdb::arrow::util::display::{ArrayFormatter, FormatOptions};

/// The answer to a query.
#[derive(Debug, Clone)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name as the query gave it; names may repeat.
    pub name: String,
    /// Its SQL type, such as `VARCHAR`.
    pub type_name: String,
}

/// One value of a [`Table`].
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// A number with a fraction.
    Float(f64),
    /// A decimal number, as its exact digits.
    Decimal(String),
    /// Text; times, dates and blobs are text too.
    Text(String),
    /// A list.
    List(Vec<Cell>),
    /// A struct or a map, in its order.
    Map(Vec<(String, Cell)>),
}

impl Table {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// Names and types, in order.
    pub fn columns(&self) -> Vec<Column> {
        let column = |field: &duckdb::arrow::datatypes::FieldRef| Column {
            name: field.name().clone(),
            type_name: type_name(field.data_type()),
        };
        self.schema.fields().iter().map(column).collect()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, each with one cell a column.
    pub fn rows(&self) -> impl Iterator<Item = Vec<Cell>> {
        self.batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()))
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Column names, made unique by a number where a query repeats one.
    pub(crate) fn unique_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for field in self.schema.fields() {
            let mut name = field.name().clone();
            let mut number = 1;
            while names.contains(&name) {
                name = format!("{}_{number}", field.name());
                number += 1;
            }
            names.push(name);
        }
        names
    }
}

/// As a person reads it: texts bare at the top and quoted inside lists and maps; `NULL` for no value.
impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn inner(cell: &Cell, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match cell {
                Cell::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
                other => write!(f, "{other}"),
            }
        }
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Decimal(text) | Self::Text(text) => f.write_str(text),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    f.write_str(if index > 0 { ", " } else { "" })?;
                    inner(item, f)?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (index, (name, value)) in entries.iter().enumerate() {
                    write!(f, "{}{name}: ", if index > 0 { ", " } else { "" })?;
                    inner(value, f)?;
                }
                f.write_str("}")
            }
        }
    }
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    macro_rules! number {
        ($type:ty) => {
            array.as_primitive::<$type>().value(row)
        };
    }
    match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Cell::Int(number!(Int8Type).into()),
        DataType::Int16 => Cell::Int(number!(Int16Type).into()),
        DataType::Int32 => Cell::Int(number!(Int32Type).into()),
        DataType::Int64 => Cell::Int(number!(Int64Type).into()),
        DataType::UInt8 => Cell::Int(number!(UInt8Type).into()),
        DataType::UInt16 => Cell::Int(number!(UInt16Type).into()),
        DataType::UInt32 => Cell::Int(number!(UInt32Type).into()),
        DataType::UInt64 => Cell::Int(number!(UInt64Type).into()),
        // The shortest digits that read back as the same f32, not those of its f64.
        DataType::Float32 => Cell::Float(number!(Float32Type).to_string().parse().unwrap_or(f64::NAN)),
        DataType::Float64 => Cell::Float(number!(Float64Type)),
        DataType::Decimal128(_, 0) => Cell::Int(number!(Decimal128Type)),
        DataType::Decimal128(..) => Cell::Decimal(shown(array, row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let array = array.as_struct();
            let fields = array.column_names().into_iter().zip(array.columns());
            Cell::Map(fields.map(|(name, column)| (name.to_owned(), cell(column, row))).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            Cell::Map((0..entries.len()).map(|index| (cell(keys, index).to_string(), cell(values, index))).collect())
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            cell(dictionary.values(), dictionary.normalized_keys()[row])
        }
        _ => Cell::Text(shown(array, row)),
    }
}

fn list(items: &dyn Array) -> Cell {
    Cell::List((0..items.len()).map(|index| cell(items, index)).collect())
}

/// Arrow's text of a value that is neither a number nor a text.
fn shown(array: &dyn Array, row: usize) -> String {
    let options = FormatOptions::new()
        .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
        .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f%:z"));
    match ArrayFormatter::try_new(array, &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(error) => error.to_string(),
    }
}

fn type_name(data_type: &DataType) -> String {
    let fixed = match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "UTINYINT",
        DataType::UInt16 => "USMALLINT",
        DataType::UInt32 => "UINTEGER",
        DataType::UInt64 => "UBIGINT",
        DataType::Float32 => "FLOAT",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal128(38, 0) => "HUGEINT",
        DataType::Decimal128(width, scale) => return format!("DECIMAL({width},{scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BLOB",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::Dictionary(..) => "ENUM",
        DataType::List(item) | DataType::LargeList(item) => return format!("{}[]", type_name(item.data_type())),
        DataType::FixedSizeList(item, length) => return format!("{}[{length}]", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect();
            return format!("STRUCT({})", fields.join(", "));
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                return format!("MAP({}, {})", type_name(pair[0].data_type()), type_name(pair[1].data_type()));
            }
            _ => "MAP",
        },
        other => return other.to_string().to_uppercase(),
    };
    fixed.to_owned()
}
