//! A part of the rows by chance: the same ones for the same seed, whatever order they are read in, and whatever rows there are beside
//! them.
//!
//! Each row has a number that only its values and the seed say; a fraction takes the rows whose number is below it, and a count those
//! with the least numbers.

use arrow::array::{Array, AsArray, UInt64Array};
use arrow::datatypes::DataType;
use async_graphql::Value;
use datafusion::common::{Result as PlanResult, exec_err};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};
use engine::Result;
use std::sync::Arc;

use super::literals::shown;
use super::order::by_name;
use super::page::identity_of;
use crate::error::{bad_input, over_limit};
use crate::shape::Shape;

/// Rows of a sample by their count.
pub(crate) const SAMPLE_ROWS_MAX: usize = 100_000;

/// What is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sample {
    size: Size,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    Rows(usize),
    /// Rows whose number is at most that.
    UpTo(u64),
}

impl Sample {
    /// Reads the argument.
    pub(crate) fn read(value: Option<&Value>) -> Result<Option<Self>> {
        let fields = match value {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Object(fields)) => fields,
            Some(other) => {
                return Err(bad_input(format!(
                    "sample: expected an object, found {}",
                    shown(other)
                )));
            }
        };
        let given = |name: &str| match fields.get(name) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        let seed = given("seed").map_or(Some(0), |seed| seed.as_i64());
        let seed = seed.ok_or_else(|| bad_input("sample.seed: expected a whole number"))?;
        let size = match (given("rows"), given("fraction")) {
            (Some(rows), None) => {
                let rows = rows.as_u64().and_then(|rows| usize::try_from(rows).ok());
                match rows.filter(|rows| *rows > 0) {
                    Some(rows) if rows > SAMPLE_ROWS_MAX => {
                        return Err(over_limit("sample.rows", SAMPLE_ROWS_MAX, rows));
                    }
                    Some(rows) => Size::Rows(rows),
                    None => {
                        return Err(bad_input("sample.rows: expected a number of rows, 1 or more"));
                    }
                }
            }
            (None, Some(part)) => match part.as_f64().filter(|part| *part > 0.0 && *part <= 1.0) {
                // As many numbers as there are, and the last one for all of them.
                Some(part) => Size::UpTo((part * u64::MAX as f64) as u64),
                None => {
                    return Err(bad_input("sample.fraction: expected more than 0, and 1 at most"));
                }
            },
            _ => return Err(bad_input("sample: expected either `rows` or `fraction`")),
        };
        Ok(Some(Self { size, seed: seed as u64 }))
    }

    /// Its rows of `table`.
    pub(crate) fn of(self, shape: &Shape, table: DataFrame) -> Result<DataFrame> {
        let identity = match shape.key.is_empty() {
            true => identity_of(shape),
            false => {
                let key = shape.key.iter().map(|key| by_name(&shape.columns[*key].name));
                super::functions::row_identity(key.collect())
            }
        };
        let number = sample_number(identity, self.seed);
        Ok(match self.size {
            Size::UpTo(most) => table.filter(number.lt_eq(lit(most)))?,
            Size::Rows(rows) => {
                // Of several rows of one key, or as many as are alike.
                let order = vec![number.sort(true, false), identity_of(shape).sort(true, false)];
                table.sort(order)?.limit(0, Some(rows))?
            }
        })
    }
}

/// The number of a row.
fn sample_number(identity: Expr, seed: u64) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(SampleNumber { seed, signature }).call(vec![identity])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SampleNumber {
    seed: u64,
    signature: Signature,
}

impl ScalarUDFImpl for SampleNumber {
    fn name(&self) -> &str {
        "sample_number"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> PlanResult<DataType> {
        Ok(DataType::UInt64)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> PlanResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let Some(identities) = arrays.first().and_then(|it| it.as_fixed_size_binary_opt()) else {
            return exec_err!("sample_number takes one identity");
        };
        let numbers = (0..identities.len()).map(|row| {
            let mut first = [0; 8];
            first.copy_from_slice(&identities.value(row)[..8]);
            mixed(u64::from_le_bytes(first) ^ mixed(self.seed))
        });
        Ok(ColumnarValue::Array(Arc::new(UInt64Array::from_iter_values(numbers))))
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): every bit of the number depends on every bit of what it is made of.
fn mixed(of: u64) -> u64 {
    let mut x = of.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
