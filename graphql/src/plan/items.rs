//! Conditions on the items of a list: `some`, `every`, `none`.
//!
//! A null item meets no condition except `isNull`. A row whose list is null never matches, as with conditions on other values.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use datafusion::physical_plan::PhysicalExpr;

/// The column that stands for the item in its condition.
const ITEM: &str = "item";

/// How many items must meet the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Quantifier {
    /// At least one.
    Some,
    /// All; true for an empty list.
    Every,
    /// None; true for an empty list.
    None,
}

impl Quantifier {
    /// The names of the quantifiers.
    pub(crate) const WORDS: [&str; 3] = ["some", "every", "none"];

    /// The quantifier with this name.
    pub(crate) fn of(word: &str) -> Option<Self> {
        match word {
            "some" => Some(Self::Some),
            "every" => Some(Self::Every),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// The item, for use in its condition.
pub(crate) fn item() -> Expr {
    col(ITEM)
}

/// Whether the items of `list`, which are of type `kind`, meet `condition` as `quantifier` requires.
pub(crate) fn items(
    list: Expr,
    quantifier: Quantifier,
    kind: DataType,
    condition: Expr,
) -> Result<Expr> {
    // Coerces types and folds constants. It needs no functions.
    static PLANNER: LazyLock<SessionState> = LazyLock::new(|| SessionStateBuilder::new().build());
    let schema = Arc::new(Schema::new(vec![Field::new(ITEM, kind, true)]));
    let columns = DFSchema::try_from(Arc::clone(&schema))?;
    let computed = PLANNER.create_physical_expr(condition.clone(), &columns)?;
    let signature = Signature::any(1, Volatility::Immutable);
    let function = Items { quantifier, schema, condition, computed, signature };
    Ok(ScalarUDF::new_from_impl(function).call(vec![list]))
}

#[derive(Debug)]
struct Items {
    quantifier: Quantifier,
    schema: SchemaRef,
    condition: Expr,
    computed: Arc<dyn PhysicalExpr>,
    signature: Signature,
}

impl PartialEq for Items {
    fn eq(&self, other: &Self) -> bool {
        self.quantifier == other.quantifier
            && self.schema == other.schema
            && self.condition == other.condition
    }
}

impl Eq for Items {}

impl Hash for Items {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.quantifier.hash(state);
        self.schema.hash(state);
        self.condition.hash(state);
    }
}

impl ScalarUDFImpl for Items {
    fn name(&self) -> &str {
        "items"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(lists) = call.args.first() else { return exec_err!("items takes one list") };
        let lists = lists.to_array(call.number_rows)?;
        let Some(lists) = lists.as_list_opt::<i32>() else {
            return exec_err!("items takes one list, found {}", lists.data_type());
        };
        let offsets = lists.value_offsets();
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else {
            return exec_err!("items takes one list, found one without offsets");
        };
        // A slice of lists shares the items of the whole array.
        let (first, last) = (*first as usize, *last as usize);
        let values = lists.values().slice(first, last - first);
        let values = cast(&values, self.schema.field(0).data_type())?;
        let count = values.len();
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![values])?;
        let met = self.computed.evaluate(&batch)?.into_array(count)?;
        let Some(met) = met.as_boolean_opt() else {
            return exec_err!("a condition on items is {}, expected Boolean", met.data_type());
        };
        let is_met = |at: usize| met.is_valid(at) && met.value(at);
        let holds = (0..lists.len()).map(|row| {
            if lists.is_null(row) {
                return None;
            }
            let mut items = offsets[row] as usize - first..offsets[row + 1] as usize - first;
            Some(match self.quantifier {
                Quantifier::Some => items.any(is_met),
                Quantifier::Every => items.all(is_met),
                Quantifier::None => !items.any(is_met),
            })
        });
        Ok(ColumnarValue::Array(Arc::new(holds.collect::<BooleanArray>())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use arrow::array::ListArray;
    use arrow::datatypes::Float64Type;
    use datafusion::common::config::ConfigOptions;
    use datafusion::prelude::lit;

    use super::*;

    /// Whether the items above 90 in each list satisfy the quantifier.
    fn above(quantifier: Quantifier, lists: &ListArray) -> Vec<Option<bool>> {
        let holds = items(col("spans"), quantifier, DataType::Float64, item().gt(lit(90)));
        let Expr::ScalarFunction(call) = holds.unwrap() else { panic!("a call") };
        let arguments = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::new(lists.clone()))],
            arg_fields: vec![Arc::new(Field::new("spans", lists.data_type().clone(), true))],
            number_rows: lists.len(),
            return_field: Arc::new(Field::new("holds", DataType::Boolean, true)),
            config_options: Arc::new(ConfigOptions::new()),
        };
        let holds = call.func.invoke_with_args(arguments).unwrap();
        holds.into_array(lists.len()).unwrap().as_boolean().iter().collect()
    }

    #[test]
    fn quantifiers_treat_null_items_as_unmet_and_null_lists_as_unknown() {
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(10.0), Some(95.0)]),
            Some(vec![Some(91.0), Some(95.0)]),
            Some(vec![Some(91.0), None]),
            Some(vec![]),
            None,
            Some(vec![Some(90.0)]),
        ]);
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(above(Quantifier::Some, &lists), [yes, yes, yes, no, None, no]);
        assert_eq!(above(Quantifier::Every, &lists), [no, yes, no, yes, None, no]);
        assert_eq!(above(Quantifier::None, &lists), [no, no, no, yes, None, yes]);
        // The items of a slice start at a nonzero offset.
        assert_eq!(above(Quantifier::Every, &lists.slice(2, 3)), [no, yes, None]);
        assert!(above(Quantifier::Some, &lists.slice(6, 0)).is_empty());
    }
}
