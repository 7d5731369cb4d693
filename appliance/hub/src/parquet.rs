//! Rows as Parquet, for researchers: the columns of the CSV with their types, so that nobody has to guess what is a number.

use crate::weeks::{Row, names};
use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::Value;
use std::sync::Arc;

/// What a column holds; everywhere, nothing may stand where something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    Numbers,
    Texts,
    Truths,
}

/// Rows as one Parquet file.
///
/// # Errors
/// When the writer refuses them, which no row of ours makes it do.
pub(crate) fn parquet(rows: &[Row]) -> Result<Vec<u8>> {
    let columns: Vec<(String, Holds)> = names()
        .into_iter()
        .map(|n| (n.clone(), holds(&n)))
        .collect();
    let fields: Result<_> = columns
        .iter()
        .map(|(name, holds)| field(name, *holds))
        .collect();
    let schema = Type::group_type_builder("weeks")
        .with_fields(fields?)
        .build()?;
    let properties = Arc::new(WriterProperties::builder().build());
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), properties)?;
    let mut group = file.next_row_group()?;
    for (name, holds) in &columns {
        let values: Vec<&Value> = rows
            .iter()
            .map(|row| row.get(name).unwrap_or(&Value::Null))
            .collect();
        let Some(mut column) = group.next_column()? else {
            break; // there are as many as there are names
        };
        write(&mut column, &values, *holds)?;
        column.close()?;
    }
    group.close()?;
    file.into_inner()
}

fn holds(name: &str) -> Holds {
    match name {
        "carried" => Holds::Truths,
        "name" | "version" => Holds::Texts,
        _ => Holds::Numbers,
    }
}

fn field(name: &str, holds: Holds) -> Result<Arc<Type>> {
    let (physical, logical) = match holds {
        Holds::Numbers => (Physical::INT64, None),
        Holds::Texts => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Holds::Truths => (Physical::BOOLEAN, None),
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    field.build().map(Arc::new)
}

fn write(
    column: &mut SerializedColumnWriter<'_>,
    values: &[&Value],
    holds: Holds,
) -> Result<usize> {
    // 1 where there is a value, 0 where it was left out.
    let there: Vec<i16> = values
        .iter()
        .map(|value| i16::from(!value.is_null()))
        .collect();
    let there = Some(&there[..]);
    let held = values.iter().filter(|value| !value.is_null());
    match holds {
        Holds::Numbers => {
            let numbers: Vec<i64> = held
                .map(|value| value.as_i64().unwrap_or_default())
                .collect();
            column
                .typed::<Int64Type>()
                .write_batch(&numbers, there, None)
        }
        Holds::Truths => {
            let truths: Vec<bool> = held.map(|value| value == &&Value::Bool(true)).collect();
            column.typed::<BoolType>().write_batch(&truths, there, None)
        }
        Holds::Texts => {
            let texts = held.map(|value| ByteArray::from(value.as_str().unwrap_or_default()));
            let texts: Vec<ByteArray> = texts.collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, there, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::RowAccessor as _;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_and_what_is_left_out_is_null() {
        let mut row = Row::new();
        for name in names() {
            row.insert(name, json!(7));
        }
        row.insert("carried".into(), json!(true));
        row.insert("name".into(), json!("lung, \"nodule\""));
        row.insert("version".into(), Value::Null);
        row.insert("agreed_3".into(), json!(-2));
        row.insert("done".into(), Value::Null);
        let bytes = parquet(&[row.clone(), row]).expect("written");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a file");
        let read: Vec<_> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|r| r.expect("a row"))
            .collect();
        assert_eq!(read.len(), 2);
        let at = |name: &str| names().iter().position(|n| n == name).expect("a column");
        assert_eq!(read[1].get_long(at("agreed_3")).expect("a number"), -2);
        assert_eq!(
            read[1].get_string(at("name")).expect("a text"),
            "lung, \"nodule\""
        );
        assert!(read[1].get_bool(at("carried")).expect("a truth"));
        assert!(read[1].get_long(at("done")).is_err(), "null");
        assert_eq!(names().len(), read[0].len());
        let none = parquet(&[]).expect("written");
        SerializedFileReader::new(bytes::Bytes::from(none)).expect("a file without rows");
    }
}
