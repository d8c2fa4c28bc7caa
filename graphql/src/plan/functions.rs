//! Functions that only plans of this crate use: a total order for floats, and the identity of a row.
//!
//! Pages continue from the values of their last row. That needs an order in which any two different
//! rows differ and in which equal values compare equal, which floats (NaN, -0) and rows with the
//! same key do not have by themselves.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryBuilder, PrimitiveArray,
};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;
use sha2::{Digest, Sha256};

/// Bytes of a row's identity.
pub(crate) const IDENTITY_BYTES: i32 = 16;

/// `column` with one NaN, greater than all numbers, and one zero.
pub(crate) fn ordered_float(column: Expr) -> Expr {
    ScalarUDF::new_from_impl(OrderedFloat { signature: Signature::any(1, Volatility::Immutable) })
        .call(vec![column])
}

/// A digest of all `columns` of a row: equal for equal rows only.
pub(crate) fn row_identity(columns: Vec<Expr>) -> Expr {
    let signature = Signature::variadic_any(Volatility::Immutable);
    ScalarUDF::new_from_impl(RowIdentity { signature }).call(columns)
}

/// Whether some part of a text matches. (DataFusion's own operator makes `LIKE` of simple patterns, and forgets there that `\\` is
/// no letter of one.)
pub(crate) fn matches_regex(text: Expr, regex: Regex) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::new_from_impl(MatchesRegex { regex, signature }).call(vec![text])
}

#[derive(Debug)]
struct MatchesRegex {
    regex: Regex,
    signature: Signature,
}

impl PartialEq for MatchesRegex {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Eq for MatchesRegex {}

impl Hash for MatchesRegex {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.regex.as_str().hash(state);
    }
}

impl ScalarUDFImpl for MatchesRegex {
    fn name(&self) -> &str {
        "matches_regex"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let Some(texts) = arrays.first().and_then(|array| array.as_string_opt::<i32>()) else {
            return exec_err!("matches_regex takes one text");
        };
        let matches = texts.iter().map(|text| text.map(|text| self.regex.is_match(text)));
        Ok(ColumnarValue::Array(Arc::new(matches.collect::<BooleanArray>())))
    }
}

/// See [`ordered_float`].
pub(crate) fn ordered_f32(value: f32) -> f32 {
    // Adding zero turns -0 into 0.
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}

/// See [`ordered_float`].
pub(crate) fn ordered_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OrderedFloat {
    signature: Signature,
}

impl ScalarUDFImpl for OrderedFloat {
    fn name(&self) -> &str {
        "ordered_float"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind @ (DataType::Float32 | DataType::Float64)] => Ok(kind.clone()),
            other => exec_err!("ordered_float takes one float, found {other:?}"),
        }
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&call.args)?;
        let Some(array) = arrays.first() else {
            return exec_err!("ordered_float takes one float, found nothing");
        };
        let ordered: ArrayRef = match array.data_type() {
            DataType::Float32 => {
                let ordered: PrimitiveArray<Float32Type> =
                    array.as_primitive::<Float32Type>().unary(ordered_f32);
                Arc::new(ordered)
            }
            DataType::Float64 => {
                let ordered: PrimitiveArray<Float64Type> =
                    array.as_primitive::<Float64Type>().unary(ordered_f64);
                Arc::new(ordered)
            }
            other => return exec_err!("ordered_float takes one float, found {other}"),
        };
        Ok(ColumnarValue::Array(ordered))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct RowIdentity {
    signature: Signature,
}

impl ScalarUDFImpl for RowIdentity {
    fn name(&self) -> &str {
        "row_identity"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(IDENTITY_BYTES))
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = call
            .args
            .iter()
            .map(|argument| argument.to_array(call.number_rows))
            .collect::<Result<Vec<_>>>()?;
        let fields = arrays.iter().map(|a| SortField::new(a.data_type().clone())).collect();
        let rows = RowConverter::new(fields)?.convert_columns(&arrays)?;
        let mut identities = FixedSizeBinaryBuilder::with_capacity(rows.num_rows(), IDENTITY_BYTES);
        for row in &rows {
            let digest = Sha256::digest(row.as_ref());
            identities.append_value(&digest[..IDENTITY_BYTES as usize])?;
        }
        Ok(ColumnarValue::Array(Arc::new(identities.finish())))
    }
}

/// The literal of an identity.
pub(crate) fn identity_literal(identity: &[u8]) -> ScalarValue {
    ScalarValue::FixedSizeBinary(IDENTITY_BYTES, Some(identity.to_vec()))
}
