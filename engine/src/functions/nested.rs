//! Bounds on nested types.
//!
//! `{'a': x, 'b': x}` has twice the fields of `x`. Thirty of these, one in the other, are a type of a billion fields, which the
//! planner would build. Types within each other take the planner and the display of a type by recursion.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::functions::core;
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::functions_nested::map::map_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawDictionaryExpr};
use datafusion::logical_expr::{Expr, ScalarUDF};

use super::arguments::beyond;
use super::bounded::unbound;

/// Most values in a nested type that are not nested.
const FIELDS_MAX: usize = 2_000;

/// Most types within each other.
const LEVELS_MAX: usize = 64;

/// Fails if a type has too many fields, or too many levels.
pub(super) fn require_narrow(name: &str, of: &DataType) -> Result<()> {
    match fields(of, FIELDS_MAX + 1, LEVELS_MAX) {
        Some(count) if count <= FIELDS_MAX => Ok(()),
        Some(_) => Err(beyond(format!(
            "{name}: expected a type of at most {FIELDS_MAX} fields, counted in all structures within each other"
        ))),
        None => Err(beyond(format!(
            "{name}: expected a type of at most {LEVELS_MAX} lists and structures within each other"
        ))),
    }
}

/// Fields of a type, counted up to `most`. None where it has more levels than that.
fn fields(of: &DataType, most: usize, levels: usize) -> Option<usize> {
    let inner = levels.checked_sub(1);
    match of {
        DataType::Struct(of) => {
            let mut sum = 0;
            for field in of {
                if sum >= most {
                    break;
                }
                sum += fields(field.data_type(), most - sum, inner?)?;
            }
            Some(sum)
        }
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::Map(item, _) => fields(item.data_type(), most, inner?),
        DataType::Dictionary(_, value) => fields(value, most, inner?),
        _ => Some(1),
    }
}

/// Plans `{'a': x}`, `struct(x)`, `[x]` and `MAP {x: y}` as calls of bounded functions. It goes before DataFusion's own planner, whose functions check
/// no types.
#[derive(Debug)]
pub(crate) struct NestedLiterals {
    named: Arc<ScalarUDF>,
    plain: Arc<ScalarUDF>,
    map: Arc<ScalarUDF>,
    list: Arc<ScalarUDF>,
}

impl Default for NestedLiterals {
    fn default() -> Self {
        let functions = [core::named_struct(), core::r#struct(), map_udf(), make_array_udf()];
        let [named, plain, map, list] = functions.map(unbound);
        Self { named, plain, map, list }
    }
}

impl ExprPlanner for NestedLiterals {
    fn plan_dictionary_literal(
        &self,
        dictionary: RawDictionaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawDictionaryExpr>> {
        let pairs = dictionary.keys.into_iter().zip(dictionary.values);
        let arguments = pairs.flat_map(|(key, value)| [key, value]).collect();
        Ok(PlannerResult::Planned(self.named.call(arguments)))
    }

    fn plan_array_literal(
        &self,
        items: Vec<Expr>,
        _: &DFSchema,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.list.call(items)))
    }

    fn plan_struct_literal(
        &self,
        arguments: Vec<Expr>,
        is_named: bool,
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let function = if is_named { &self.named } else { &self.plain };
        Ok(PlannerResult::Planned(function.call(arguments)))
    }

    fn plan_make_map(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        if !arguments.len().is_multiple_of(2) {
            return plan_err!("a map has a value for each key; found {} of both", arguments.len());
        }
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (place, argument) in arguments.into_iter().enumerate() {
            if place % 2 == 0 { keys.push(argument) } else { values.push(argument) }
        }
        let pairs = [keys, values].map(|items| self.list.call(items));
        Ok(PlannerResult::Planned(self.map.call(pairs.to_vec())))
    }
}
