//! The operator `||` on text and bytes, as a function with a bound.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

use super::memory::Memory;
use super::sizes::Sizes;
use super::slices::{Bound, call_bounded, is_constant};

/// `left || right`, both of type `kind`, as a call. A chain becomes a single call, because planning a deep expression takes
/// quadratic time.
pub(super) fn joined(left: Expr, right: Expr, kind: DataType, memory: &Memory) -> Expr {
    let mut texts = match left {
        Expr::ScalarFunction(call) if kind_of_joined(&call.func).is_some() => call.args,
        left => vec![left],
    };
    texts.push(right);
    let signature = Signature::any(texts.len(), Volatility::Immutable);
    let memory = memory.clone();
    ScalarUDF::new_from_impl(Joined { signature, kind, memory }).call(texts)
}

/// The type that a concatenation returns; `None` for another function.
pub(super) fn kind_of_joined(function: &ScalarUDF) -> Option<&DataType> {
    function.inner().downcast_ref::<Joined>().map(|joined| &joined.kind)
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Joined {
    signature: Signature,
    kind: DataType,
    memory: Memory,
}

impl Joined {
    /// The same call, whose results count against `memory`.
    pub(super) fn within(&self, memory: &Memory) -> Self {
        let (signature, kind) = (self.signature.clone(), self.kind.clone());
        Self { signature, kind, memory: memory.clone() }
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }

    fn schema_name(&self, texts: &[Expr]) -> Result<String> {
        let texts: Vec<String> = texts.iter().map(|text| text.schema_name().to_string()).collect();
        Ok(texts.join(" || "))
    }

    fn display_name(&self, texts: &[Expr]) -> Result<String> {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Ok(texts.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.clone())
    }

    fn return_field_from_args(&self, of: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let is_nullable = of.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.kind.clone(), is_nullable)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_one = is_constant(&arguments);
        let sizes: Vec<Sizes> = arguments.args.iter().map(Sizes::bytes).collect();
        let bound = Bound::of(&arguments, true, |row| {
            sizes.iter().map(|sizes| sizes.at(row)).fold(0, u64::saturating_add)
        });
        call_bounded(self.name(), &self.memory, &bound, arguments, |arguments| {
            let rows = if is_one { 1 } else { arguments.number_rows };
            let mut texts = arguments.args.into_iter();
            let first = texts.next().ok_or_else(|| exec_datafusion_err!("||: no texts"))?;
            match texts.try_fold(first, |joined, text| one_after_the_other(joined, text, rows))? {
                ColumnarValue::Array(array) if is_one => {
                    Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
                }
                joined => Ok(joined),
            }
        })
    }
}

/// Concatenates as the operator does.
fn one_after_the_other(
    left: ColumnarValue,
    right: ColumnarValue,
    rows: usize,
) -> Result<ColumnarValue> {
    let (mut columns, mut fields) = (Vec::new(), Vec::new());
    let mut side = |value: ColumnarValue| -> Arc<dyn PhysicalExpr> {
        match value {
            ColumnarValue::Scalar(value) => Arc::new(Literal::new(value)),
            ColumnarValue::Array(array) => {
                let (name, place) = (columns.len().to_string(), columns.len());
                fields.push(Field::new(&name, array.data_type().clone(), true));
                columns.push(array);
                Arc::new(Column::new(&name, place))
            }
        }
    };
    let (left, right) = (side(left), side(right));
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    BinaryExpr::new(left, Operator::StringConcat, right).evaluate(&batch)
}
