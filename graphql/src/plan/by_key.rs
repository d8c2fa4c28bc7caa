//! Rows by their keys, all in one plan. A key is declared and not enforced: of several rows with one it is the first by their
//! identity, in every answer the same.

use std::collections::{BTreeSet, HashMap};

use arrow::array::ArrayRef;
use async_graphql::Value;
use datafusion::dataframe::DataFrame;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, lit};
use engine::{Result, Session};

use super::holding::Holding;
use super::literals::literal;
use super::order::by_name;
use super::page::{collect_bounded, identity_of, named};
use super::values::{canonical, to_values};
use crate::shape::Shape;

const PLACE: &str = "_place";

/// Rows that were found.
#[derive(Debug, Default)]
pub(crate) struct FoundRows {
    /// How many.
    pub rows: usize,
    /// Values of the columns that were asked for, and of the key.
    pub columns: HashMap<usize, Vec<Value>>,
    /// Values of columns that lead on to others.
    pub kept: HashMap<usize, ArrayRef>,
    /// Values that could not be expressed, by column.
    pub not_finite: Vec<(usize, u64)>,
}

impl FoundRows {
    /// The row with this key.
    pub(crate) fn place(&self, shape: &Shape, key: &[Value]) -> Option<usize> {
        (0..self.rows).find(|row| {
            let mut parts = shape.key.iter().zip(key);
            parts.all(|(column, value)| {
                self.columns.get(column).and_then(|values| values.get(*row)) == Some(value)
            })
        })
    }
}

/// The rows of `table` with these keys. A value that no key has finds none.
pub(crate) async fn read_by_key(
    session: &Session,
    table: DataFrame,
    shape: &Shape,
    keys: &[&[Value]],
    (columns, kept): (&BTreeSet<usize>, &BTreeSet<usize>),
    holding: &Holding,
) -> Result<FoundRows> {
    let one = |key: &[Value]| {
        let parts = shape.key.iter().zip(key).map(|(column, value)| {
            let column = &shape.columns[*column];
            let value = literal(&column.kind, value, &column.name).ok()?;
            Some(by_name(&column.name).eq(lit(value)))
        });
        let parts: Option<Vec<Expr>> = parts.collect();
        parts.filter(|parts| parts.len() == shape.key.len())?.into_iter().reduce(Expr::and)
    };
    let any = keys.iter().filter_map(|key| one(key)).reduce(Expr::or);
    let Some(any) = any else { return Ok(FoundRows::default()) };
    let name = |column: &usize| by_name(&shape.columns[*column].name);
    let place = row_number()
        .partition_by(shape.key.iter().map(name).collect())
        .order_by(vec![identity_of(shape).sort(true, false)])
        .build()?
        .alias(PLACE);
    let columns: BTreeSet<usize> = columns.iter().chain(&shape.key).copied().collect();
    let frame = table
        .filter(any)?
        .window(vec![place])?
        .filter(by_name(PLACE).eq(lit(1u64)))?
        .select(columns.union(kept).map(name).collect::<Vec<_>>())?;
    let batch = collect_bounded(session, frame, holding).await?;
    let mut found = FoundRows { rows: batch.num_rows(), ..FoundRows::default() };
    for position in columns {
        let column = &shape.columns[position];
        let converted = to_values(named(&batch, &column.name)?, &column.kind, holding)?;
        if converted.not_finite > 0 {
            found.not_finite.push((position, converted.not_finite));
        }
        found.columns.insert(position, converted.values);
    }
    for position in kept {
        let column = &shape.columns[*position];
        found.kept.insert(*position, canonical(named(&batch, &column.name)?, &column.kind)?);
    }
    Ok(found)
}
