//! Functions that may take long for a row, some rows at a time: between these they look whether anybody still waits. Alone they are called
//! with some thousand rows, and hear of nothing before all are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl};

use super::arguments::{Shared, beyond, stopped};
use super::bounded::{Bounded, is_bounded};
use super::memory::Memory;
use super::sizes::Sizes;
use super::slices::{Slices, is_constant, slice};

/// Those functions.
const PACED: [(&str, Effort); 19] = [
    ("array_distinct", Effort::Items),
    ("array_except", Effort::Items),
    ("array_has_all", Effort::Items),
    ("array_has_any", Effort::Items),
    ("array_intersect", Effort::Items),
    ("array_sort", Effort::Items),
    ("array_to_string", Effort::Items),
    ("array_union", Effort::Items),
    ("btrim", Effort::Product),
    ("find_in_set", Effort::Bytes),
    ("levenshtein", Effort::Product),
    ("ltrim", Effort::Product),
    ("map", Effort::Items),
    ("regexp_count", Effort::Bytes),
    ("regexp_instr", Effort::Bytes),
    ("regexp_like", Effort::Bytes),
    ("regexp_match", Effort::Bytes),
    ("regexp_replace", Effort::Bytes),
    ("rtrim", Effort::Product),
];

/// The quantity that determines the cost of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Effort {
    /// The bytes of its arguments.
    Bytes,
    /// The lengths of its first two arguments, multiplied.
    Product,
    /// The items of its lists. Each item is compared or hashed.
    Items,
}

/// Rows at first, and what some rows shall take.
const ROWS: usize = 1;
const PACE: Duration = Duration::from_millis(20);
/// The largest product, and the most items, that take about a second in a build without optimisation.
const PRODUCT_MAX: u64 = 1 << 24;
const ITEMS_MAX: u64 = 1 << 20;

/// Whether a function is one of them.
pub(super) fn is_paced(name: &str) -> bool {
    effort(name).is_some()
}

fn effort(name: &str) -> Option<Effort> {
    PACED.iter().find(|(paced, _)| *paced == name).map(|(_, effort)| *effort)
}

/// Those that `known` has, of no query yet.
pub(super) fn paced(
    known: impl Fn(&str) -> Option<Arc<ScalarUDF>>,
    execution: &Shared,
) -> Vec<ScalarUDF> {
    let of = |&(name, _): &(&str, Effort)| Some(Paced::of(&known(name)?, execution));
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
        if self.execution.control.is_cancelled() {
            return Err(stopped(self.name()));
        }
        let rows = arguments.number_rows;
        // A trim of blanks takes as long as its text.
        let is_quick = effort(self.name()) == Some(Effort::Product) && arguments.args.len() < 2;
        if is_constant(&arguments) || rows <= 1 || is_quick {
            return self.function.invoke_with_args(arguments);
        }
        let mut slices = Slices::default();
        let (mut first, mut length) = (0, ROWS);
        while first < rows {
            if self.execution.control.is_cancelled() {
                return Err(stopped(self.name()));
            }
            let count = length.min(rows - first);
            let began = Instant::now();
            let part = self.function.invoke_with_args(slice(&arguments, first, count))?;
            slices.push(self.name(), part, count)?;
            first += count;
            length = if began.elapsed() < PACE { 2 * length } else { (length / 2).max(1) };
        }
        match self.function.inner().downcast_ref::<Bounded>() {
            Some(bounded) => slices.concat(bounded.memory()),
            None => slices.concat(&Memory::default()),
        }
    }
}

impl Paced {
    /// The same function, whose results count against `memory`.
    pub(super) fn within(&self, memory: &Memory) -> Option<Self> {
        let bounded = self.function.inner().downcast_ref::<Bounded>()?.within(memory);
        let function = Arc::new(ScalarUDF::new_from_impl(bounded));
        Some(Self { function, execution: self.execution.clone() })
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
        let name = self.name();
        match (effort(name), &arguments.args[..]) {
            (Some(Effort::Product), [one, other, ..]) => {
                let (one, other) = (Sizes::bytes(one), Sizes::bytes(other));
                for row in 0..arguments.number_rows {
                    let (one, other) = (one.at(row), other.at(row));
                    if one.saturating_mul(other) > PRODUCT_MAX {
                        return Err(beyond(format!(
                            "{name}: expected two strings whose lengths in bytes multiply to at most {PRODUCT_MAX}, found {one} and {other} bytes"
                        )));
                    }
                }
            }
            (Some(Effort::Items), lists) => {
                let lists = lists.iter().map(Sizes::values).collect::<Result<Vec<_>>>()?;
                for row in 0..arguments.number_rows {
                    let items = lists.iter().map(|list| list.at(row)).fold(0, u64::saturating_add);
                    if items > ITEMS_MAX {
                        return Err(beyond(format!(
                            "{name}: expected lists of at most {ITEMS_MAX} items in a row, found {items}"
                        )));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
