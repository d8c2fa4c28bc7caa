//! Rows that others are related to: of all parents of a page in one plan, so that a page with related rows is two queries and not
//! one for each row.
//!
//! ```text
//!   parents' values      rows of the other dataset               numbered for each value          first n, and one more
//!   ───────────────      ────────────────────────────────        ─────────────────────────        ───────────────────────
//!   a b a c         ─▶   where ─▶ column in (a, b, c)       ─▶   row_number() by the order   ─▶   a1 a2 a3 | b1 | c1 c2
//! ```
//!
//! Where two neighbours are equal in the order, it is read again with the rows' identity behind it, as pages are.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_graphql::Value;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::{Expr, ExprFunctionExt, WindowFunctionDefinition, lit};
use datafusion::prelude::in_list;
use engine::{Error, Result, Session};

use super::holding::Holding;
use super::order::{Term, by_name, sort_key};
use super::page::{collect_bounded, comparable, identity_of, named, one_nan};
use super::values::{canonical, to_values};
use crate::error::over_limit;
use crate::shape::Shape;

/// Different values of the parents of one relation.
const PARENTS_MAX: usize = 10_000;

const PLACE: &str = "_place";
const TOTAL: &str = "_total";

/// What is asked of related rows.
pub(crate) struct RelatedRequest {
    /// The column that has the parents' values.
    pub column: usize,
    /// The filter.
    pub predicate: Option<Expr>,
    /// The order.
    pub terms: Vec<Term>,
    /// Rows of each parent.
    pub rows: usize,
    /// Whether all of them are counted.
    pub counts: bool,
    /// Columns that the answer shows.
    pub columns: BTreeSet<usize>,
    /// Columns whose values lead on to others.
    pub kept: BTreeSet<usize>,
}

/// Related rows, those of one value together.
#[derive(Debug, Default)]
pub(crate) struct RelatedRows {
    /// Values of the columns that were asked for.
    pub columns: HashMap<usize, Vec<Value>>,
    /// Values of columns that lead on.
    pub kept: HashMap<usize, ArrayRef>,
    /// Values that could not be expressed, by column.
    pub not_finite: Vec<(usize, u64)>,
    /// For each parent, its rows.
    pub parents: Vec<OfParent>,
}

/// The rows of one parent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OfParent {
    /// The first one.
    pub begin: usize,
    /// How many.
    pub rows: usize,
    /// Whether there are more.
    pub has_more: bool,
    /// All that there are, where they were counted.
    pub total: u64,
}

/// Reads rows of `table` by the values of `parents`.
pub(crate) async fn read_related(
    session: &Session,
    table: DataFrame,
    shape: &Shape,
    request: &RelatedRequest,
    parents: &ArrayRef,
    holding: &Holding,
) -> Result<RelatedRows> {
    let column = &shape.columns[request.column];
    let parents = canonical(parents, &column.kind)?;
    let converter = RowConverter::new(vec![SortField::new(parents.data_type().clone())])?;
    let values = converter.convert_columns(std::slice::from_ref(&parents))?;
    let mut distinct: HashMap<OwnedRow, ScalarValue> = HashMap::new();
    for row in (0..parents.len()).filter(|row| parents.is_valid(*row)) {
        if let Entry::Vacant(new) = distinct.entry(values.row(row).owned()) {
            new.insert(ScalarValue::try_from_array(&parents, row)?);
        }
    }
    if distinct.len() > PARENTS_MAX {
        let what = "different values of rows whose related ones are asked for (ask for fewer rows)";
        return Err(over_limit(what, PARENTS_MAX, distinct.len()));
    }
    if distinct.is_empty() {
        let parents = vec![OfParent::default(); parents.len()];
        return Ok(RelatedRows { parents, ..RelatedRows::default() });
    }
    let wanted = distinct.into_values().map(lit).collect();
    let mut table = table.filter(in_list(by_name(&column.name), wanted, false))?;
    if let Some(predicate) = &request.predicate {
        table = table.filter(predicate.clone())?;
    }
    let reading = Reading { session, shape, request, holding };
    let mut batch = None;
    if !request.terms.is_empty() {
        let by_order = reading.numbered(table.clone(), None).await?;
        batch = (!reading.has_ties(&by_order)?).then_some(by_order);
    }
    let batch = match batch {
        Some(batch) => batch,
        None => reading.numbered(table, Some(identity_of(shape))).await?,
    };
    reading.related(&batch, &converter, &parents)
}

struct Reading<'a> {
    session: &'a Session,
    shape: &'a Shape,
    request: &'a RelatedRequest,
    holding: &'a Holding,
}

impl Reading<'_> {
    /// The first rows of each value, and one more.
    async fn numbered(
        &self,
        table: DataFrame,
        identity: Option<Expr>,
    ) -> Result<super::page::Collected<'_>> {
        let request = self.request;
        let name = |column: usize| by_name(&self.shape.columns[column].name);
        let of = vec![name(request.column)];
        let mut order: Vec<_> = request
            .terms
            .iter()
            .map(|term| term.direction.sort(sort_key(&self.shape.columns[term.column])))
            .collect();
        order.extend(identity.map(|identity| identity.sort(true, false)));
        let mut windows =
            vec![row_number().partition_by(of.clone()).order_by(order).build()?.alias(PLACE)];
        if request.counts {
            let count = WindowFunctionDefinition::AggregateUDF(count_udaf());
            let count = Expr::from(WindowFunction::new(count, vec![lit(1i64)]));
            windows.push(count.partition_by(of).build()?.alias(TOTAL));
        }
        let most = request.rows as u64 + 1;
        let shown: BTreeSet<usize> = (request.columns.iter().chain(&request.kept).copied())
            .chain(request.terms.iter().map(|term| term.column))
            .chain([request.column])
            .collect();
        let mut output: Vec<Expr> = shown.into_iter().map(name).collect();
        output.push(by_name(PLACE));
        output.extend(request.counts.then(|| by_name(TOTAL)));
        let frame =
            table.window(windows)?.filter(by_name(PLACE).lt_eq(lit(most)))?.select(output)?.sort(
                vec![name(request.column).sort(true, false), by_name(PLACE).sort(true, false)],
            )?;
        collect_bounded(self.session, frame, self.holding).await
    }

    fn values(&self, batch: &RecordBatch, column: usize) -> Result<ArrayRef> {
        let column = &self.shape.columns[column];
        Ok(one_nan(&canonical(named(batch, &column.name)?, &column.kind)?))
    }

    /// Whether two neighbours of one value are equal in the order.
    fn has_ties(&self, batch: &RecordBatch) -> Result<bool> {
        let terms = self.request.terms.iter().map(|term| term.column);
        let keys = [self.request.column].into_iter().chain(terms);
        let keys = keys.map(|column| self.values(batch, column)).collect::<Result<Vec<_>>>()?;
        let rows = comparable(&keys)?;
        Ok((1..batch.num_rows()).any(|row| rows.row(row - 1) == rows.row(row)))
    }

    fn related(
        &self,
        batch: &RecordBatch,
        converter: &RowConverter,
        parents: &ArrayRef,
    ) -> Result<RelatedRows> {
        let numbers = |name: &str| -> Result<&[u64]> {
            let numbers = named(batch, name)?.as_primitive_opt::<UInt64Type>();
            let numbers = numbers.ok_or_else(|| Error::internal("places that are no numbers"))?;
            Ok(numbers.values())
        };
        let places = numbers(PLACE)?;
        let totals = match self.request.counts {
            true => {
                let totals = named(batch, TOTAL)?.as_primitive_opt::<arrow::datatypes::Int64Type>();
                totals.map(|totals| totals.values().to_vec())
            }
            false => None,
        };
        let of = self.values(batch, self.request.column)?;
        let of = converter.convert_columns(std::slice::from_ref(&of))?;
        let mut by_value: HashMap<OwnedRow, OfParent> = HashMap::new();
        for (row, place) in places.iter().enumerate() {
            let entry = by_value
                .entry(of.row(row).owned())
                .or_insert_with(|| OfParent { begin: row, ..OfParent::default() });
            match *place > self.request.rows as u64 {
                true => entry.has_more = true,
                false => entry.rows += 1,
            }
            let total = totals.as_ref().and_then(|totals| totals.get(row));
            entry.total = total.and_then(|total| u64::try_from(*total).ok()).unwrap_or_default();
        }
        let values = converter.convert_columns(std::slice::from_ref(parents))?;
        let parents = (0..parents.len())
            .map(|row| match parents.is_valid(row) {
                true => by_value.get(&values.row(row).owned()).copied().unwrap_or_default(),
                false => OfParent::default(),
            })
            .collect();
        let mut related = RelatedRows { parents, ..RelatedRows::default() };
        for position in &self.request.columns {
            let column = &self.shape.columns[*position];
            let converted = to_values(named(batch, &column.name)?, &column.kind, self.holding)?;
            if converted.not_finite > 0 {
                related.not_finite.push((*position, converted.not_finite));
            }
            related.columns.insert(*position, converted.values);
        }
        for position in &self.request.kept {
            let column = &self.shape.columns[*position];
            let values = canonical(named(batch, &column.name)?, &column.kind)?;
            related.kept.insert(*position, values);
        }
        Ok(related)
    }
}
