//! Functions that may take long for a row, some rows at a time: between these they look whether anybody still waits. Alone they are called
//! with some thousand rows, and hear of nothing before all are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::arguments::{Shared, beyond, stopped};
use super::bounded::{Bounded, is_bounded};

/// Those functions.
const PACED: [&str; 11] = [
    "array_except",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_union",
    "find_in_set",
    "levenshtein",
    "regexp_count",
    "regexp_instr",
    "regexp_match",
    "regexp_replace",
];

/// Rows at first, and what some rows shall take.
const ROWS: usize = 1;
const PACE: Duration = Duration::from_millis(20);
/// Steps of the one of them that takes as many as the lengths of a row's texts multiplied, for a row.
const LEVENSHTEIN: &str = "levenshtein";
const STEPS_MAX: u64 = 1 << 30;

/// Whether a function is one of them.
pub(super) fn is_paced(name: &str) -> bool {
    PACED.contains(&name)
}

/// Those that `known` has, of no query yet.
pub(super) fn paced(
    known: impl Fn(&str) -> Option<Arc<ScalarUDF>>,
    execution: &Shared,
) -> Vec<ScalarUDF> {
    let of = |name: &&str| Some(Paced::of(&known(name)?, execution));
    PACED.iter().filter_map(of).collect()
}

/// One of them, as it belongs to a query.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Paced {
    function: Arc<ScalarUDF>,
    execution: Shared,
}

impl ScalarUDFImpl for Paced {
    of_function!();

    fn simplify(&self, of: Vec<Expr>, context: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.function.simplify(of, context)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&arguments)?;
        match self.function.inner().downcast_ref::<Bounded>() {
            Some(bounded) => {
                let bytes = bounded.check(&arguments)?;
                bounded.memory().holds(bytes, || self.in_parts(arguments))
            }
            None => self.in_parts(arguments),
        }
    }
}

impl Paced {
    fn in_parts(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let is_constant = arguments.args.iter().all(|of| matches!(of, ColumnarValue::Scalar(_)));
        if is_constant || rows <= 1 {
            return self.function.invoke_with_args(arguments);
        }
        let mut found = Vec::new();
        let (mut first, mut length) = (0, ROWS);
        while first < rows {
            if self.execution.control.is_cancelled() {
                return Err(stopped(self.name()));
            }
            let count = length.min(rows - first);
            let some = |of: &ColumnarValue| match of {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(first, count)),
                scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
            };
            let began = Instant::now();
            let part = self.function.invoke_with_args(ScalarFunctionArgs {
                args: arguments.args.iter().map(some).collect(),
                arg_fields: arguments.arg_fields.clone(),
                number_rows: count,
                return_field: Arc::clone(&arguments.return_field),
                config_options: Arc::clone(&arguments.config_options),
            })?;
            found.push(part.into_array(count)?);
            first += count;
            length = if began.elapsed() < PACE { 2 * length } else { (length / 2).max(1) };
        }
        let parts: Vec<&dyn Array> = found.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }

    /// The function that ends with `execution`.
    pub(super) fn of(function: &Arc<ScalarUDF>, execution: &Shared) -> ScalarUDF {
        let known = function.inner().downcast_ref::<Self>().map(|known| &known.function);
        let function = Arc::clone(known.unwrap_or(function));
        ScalarUDF::new_from_impl(Self { function, execution: execution.clone() })
    }

    /// Whether `function` is paced and also bounded.
    pub(super) fn wraps_bounded(function: &ScalarUDF) -> bool {
        function.inner().downcast_ref::<Self>().is_some_and(|paced| is_bounded(&paced.function))
    }

    /// Fails if a single row would take too long.
    fn check(&self, arguments: &ScalarFunctionArgs) -> Result<()> {
        let (LEVENSHTEIN, [one, other, ..]) = (self.name(), &arguments.args[..]) else {
            return Ok(());
        };
        let texts = |of: &ColumnarValue| {
            let is_scalar = matches!(of, ColumnarValue::Scalar(_));
            let rows = if is_scalar { 1 } else { arguments.number_rows };
            cast(&of.to_array(rows)?, &DataType::LargeUtf8).map_err(DataFusionError::from)
        };
        let (one, other) = (texts(one)?, texts(other)?);
        let (one, other) = (one.as_string::<i64>(), other.as_string::<i64>());
        let bytes = |of: &arrow::array::LargeStringArray, row: usize| {
            let row = if of.len() == 1 { 0 } else { row };
            if of.is_valid(row) { of.value(row).len() as u64 } else { 0 }
        };
        let rows = if one.is_empty() || other.is_empty() { 0 } else { one.len().max(other.len()) };
        for row in 0..rows {
            let (one, other) = (bytes(one, row), bytes(other, row));
            if one.saturating_mul(other) > STEPS_MAX {
                let says = format!(
                    "{LEVENSHTEIN}: expected two texts whose lengths multiplied are at most {STEPS_MAX}, found {one} and {other} bytes"
                );
                return Err(beyond(says));
            }
        }
        Ok(())
    }
}
