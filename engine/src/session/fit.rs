//! A table made to show what its spec says.
//!
//! Tables of ours have exactly the columns of their spec. A table that another writer made may name and
//! type them as it likes; it is shown through a projection that renames and casts, which the optimiser
//! sees through, so that filters still reach the files.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::catalog::TableProvider;
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlanBuilder, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast,
};

use super::sparing::Sparing;
use crate::error::Result;
use crate::lake::Snapshot;

/// The table of `snapshot`, or of some of its files, with the columns of its spec.
pub(super) fn fitted(
    snapshot: &Snapshot,
    files: Option<Vec<String>>,
) -> Result<Arc<dyn TableProvider>> {
    let scan = Arc::new(Sparing(Arc::new(snapshot.scan(files)?)));
    let native = scan.schema();
    let wanted = snapshot.entry.spec.arrow_schema();
    let same = native.fields().len() == wanted.fields().len()
        && native
            .fields()
            .iter()
            .zip(wanted.fields())
            .all(|(n, w)| n.name() == w.name() && n.data_type() == w.data_type());
    if same {
        return Ok(scan);
    }
    let columns = native.fields().iter().zip(wanted.fields()).map(|(native, wanted)| {
        let column = Expr::Column(Column::new_unqualified(native.name()));
        let nested = matches!(native.data_type(), DataType::Struct(_) | DataType::Map(_, _))
            || (wanted.data_type() == &DataType::Utf8 && is_list(native.data_type()));
        let expression = if nested {
            ScalarUDF::new_from_impl(AsJson::new()).call(vec![column])
        } else if native.data_type() == wanted.data_type() {
            column
        } else {
            cast(column, wanted.data_type().clone())
        };
        expression.alias(wanted.name())
    });
    let plan = LogicalPlanBuilder::scan("table", provider_as_source(scan), None)?
        .project(columns.collect::<Vec<_>>())?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

/// A nested value as the text of a JSON document.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsJson {
    signature: Signature,
}

impl AsJson {
    fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AsJson {
    fn name(&self) -> &str {
        "as_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType, DataFusionError> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(
        &self,
        arguments: ScalarFunctionArgs,
    ) -> Result<ColumnarValue, DataFusionError> {
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [array] = arrays.as_slice() else {
            return Err(DataFusionError::Internal("as_json takes one argument".to_owned()));
        };
        Ok(ColumnarValue::Array(json_texts(array)?))
    }
}

/// The type with the keys of its maps as text: JSON has no others.
fn with_text_keys(data_type: &DataType) -> DataType {
    let inner =
        |field: &Field| Arc::new(field.clone().with_data_type(with_text_keys(field.data_type())));
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| inner(f)).collect()),
        DataType::List(item) => DataType::List(inner(item)),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {
                let key = Arc::new(fields[0].as_ref().clone().with_data_type(DataType::Utf8));
                let both = DataType::Struct(vec![key, inner(&fields[1])].into());
                DataType::Map(Arc::new(entries.as_ref().clone().with_data_type(both)), *sorted)
            }
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

/// `batch` with its nested columns as texts of JSON, for what knows no others.
pub fn with_json_texts(batch: &RecordBatch) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter();
    let columns = fields.zip(batch.columns()).map(|(field, column)| {
        let column = match field.data_type().is_nested() {
            true => json_texts(column)?,
            false => Arc::clone(column),
        };
        Ok((field.name(), column, true))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn json_texts(array: &ArrayRef) -> Result<ArrayRef, DataFusionError> {
    const PREFIX: &str = "{\"v\":";
    let array = &arrow::compute::cast(array, &with_text_keys(array.data_type()))?;
    let schema = Arc::new(Schema::new(vec![Field::new("v", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema, vec![Arc::clone(array)])?;
    let mut writer: LineDelimitedWriter<Vec<u8>> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    let lines = writer.into_inner();
    let mut texts = StringBuilder::with_capacity(array.len(), lines.len());
    // A line break inside a text is escaped in JSON: each row is one line `{"v":…}`.
    for (row, line) in lines.split(|b| *b == b'\n').take(array.len()).enumerate() {
        let text = std::str::from_utf8(line)
            .ok()
            .and_then(|line| line.strip_prefix(PREFIX)?.strip_suffix('}'));
        match text {
            _ if array.is_null(row) => texts.append_null(),
            Some(text) => texts.append_value(text),
            None => {
                return Err(DataFusionError::Internal("as_json: a row is not a line".to_owned()));
            }
        }
    }
    Ok(Arc::new(texts.finish()))
}
