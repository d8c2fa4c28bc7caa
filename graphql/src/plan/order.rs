//! The order of rows, and "everything behind this row" as a predicate.
//!
//! Nulls stand last unless asked otherwise, in either direction. The predicate compares term by term:
//! greater in the first, or equal there and greater in the second, and so on; a null is a value with
//! a place of its own, which plain comparisons would drop.

use async_graphql::Value;
use datafusion::common::{Column as PlanColumn, ScalarValue};
use datafusion::logical_expr::{Expr, SortExpr, lit};
use datasets::ColumnType;
use engine::{Error, Result};

use super::functions::ordered_float;
use crate::error::bad_input;
use crate::shape::{Column, Shape};

/// A direction as written in a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Direction {
    /// Smallest first.
    pub ascending: bool,
    /// Nulls before all values.
    pub nulls_first: bool,
}

/// The names of directions, in the order of the schema, and what they mean.
pub(crate) const DIRECTIONS: [(&str, &str, Direction); 4] = [
    ("ASC", "smallest first, nulls last", Direction { ascending: true, nulls_first: false }),
    ("DESC", "greatest first, nulls last", Direction { ascending: false, nulls_first: false }),
    (
        "ASC_NULLS_FIRST",
        "nulls, then smallest first",
        Direction { ascending: true, nulls_first: true },
    ),
    (
        "DESC_NULLS_FIRST",
        "nulls, then greatest first",
        Direction { ascending: false, nulls_first: true },
    ),
];

/// One term of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Term {
    /// The column, as a position in the shape.
    pub column: usize,
    /// Its direction.
    pub direction: Direction,
}

impl Direction {
    /// The direction that the schema's enum calls `name`.
    pub(crate) fn named(value: &Value) -> Result<Self> {
        let name = match value {
            Value::Enum(name) => name.as_str(),
            Value::String(name) => name.as_str(),
            _ => "",
        };
        DIRECTIONS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(.., direction)| *direction)
            .ok_or_else(|| {
                let names = DIRECTIONS.map(|(name, ..)| name).join(", ");
                bad_input(format!("orderBy: expected one of {names}, found {value}"))
            })
    }

    /// The other way round.
    pub(crate) fn reversed(self) -> Self {
        Self { ascending: !self.ascending, nulls_first: !self.nulls_first }
    }

    /// `expression` in this direction.
    pub(crate) fn sort(self, expression: Expr) -> SortExpr {
        expression.sort(self.ascending, self.nulls_first)
    }
}

/// The order that `value` (the argument `orderBy`) asks for, made as total as the columns allow: the
/// key behind it, or, where there is neither key nor order, the time column.
pub(crate) fn terms(shape: &Shape, value: Option<&Value>) -> Result<Vec<Term>> {
    let mut terms: Vec<Term> = Vec::new();
    let entries = match value {
        None | Some(Value::Null) => &[][..],
        Some(Value::List(entries)) => entries.as_slice(),
        Some(other) => std::slice::from_ref(other),
    };
    for entry in entries {
        let Value::Object(entry) = entry else {
            return Err(bad_input(format!(
                "orderBy: expected objects of one column, found {entry}"
            )));
        };
        for (field, direction) in entry {
            let Some(column) = shape.position(field) else {
                return Err(bad_input(format!("orderBy: {} has no column {field}", shape.name)));
            };
            if terms.iter().all(|t| t.column != column) {
                terms.push(Term { column, direction: Direction::named(direction)? });
            }
        }
    }
    let ascending = Direction { ascending: true, nulls_first: false };
    let fallback = match (terms.is_empty() && shape.key.is_empty(), shape.time) {
        (true, Some(time)) => vec![time],
        _ => shape.key.clone(),
    };
    for column in fallback {
        if shape.columns[column].is_sortable() && terms.iter().all(|t| t.column != column) {
            terms.push(Term { column, direction: ascending });
        }
    }
    Ok(terms)
}

/// A column by its name in storage, whatever table it is from.
pub(crate) fn by_name(name: &str) -> Expr {
    Expr::Column(PlanColumn::from_name(name))
}

/// What a column is sorted and compared by.
pub(crate) fn sort_key(column: &Column) -> Expr {
    match column.kind {
        ColumnType::Float32 | ColumnType::Float64 => ordered_float(by_name(&column.name)),
        _ => by_name(&column.name),
    }
}

/// One comparison of "behind this row".
pub(crate) struct Behind {
    /// What is compared.
    pub key: Expr,
    /// The row's value.
    pub value: ScalarValue,
    /// The direction of the order.
    pub direction: Direction,
    /// Whether nulls can occur.
    pub nullable: bool,
}

/// Rows strictly behind the given values, or, with `tied`, also those equal in all of them.
pub(crate) fn behind(terms: Vec<Behind>, tied: Tied) -> Result<Expr> {
    let mut predicate: Option<Expr> = match tied {
        Tied::Included => Some(lit(true)),
        Tied::Excluded => None,
    };
    for term in terms.into_iter().rev() {
        let after = after(&term);
        predicate = Some(match predicate {
            None => after,
            Some(rest) => {
                let equal = match term.value.is_null() {
                    true => term.key.is_null(),
                    false => term.key.eq(lit(term.value)),
                };
                after.or(equal.and(rest))
            }
        });
    }
    predicate.ok_or_else(|| Error::internal("an order without terms"))
}

/// What happens to rows that are equal in every term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tied {
    /// They are taken.
    Included,
    /// They are left out.
    Excluded,
}

fn after(term: &Behind) -> Expr {
    let Behind { key, value, direction, nullable } = term;
    match (value.is_null(), direction.nulls_first) {
        (true, true) => key.clone().is_not_null(),
        (true, false) => lit(false),
        (false, nulls_first) => {
            let beyond = match direction.ascending {
                true => key.clone().gt(lit(value.clone())),
                false => key.clone().lt(lit(value.clone())),
            };
            match *nullable && !nulls_first {
                true => beyond.or(key.clone().is_null()),
                false => beyond,
            }
        }
    }
}
