//! One page of rows: a plan that filters, orders, skips to the cursor and takes `first` rows.
//!
//! ```text
//!   version v, pinned            order: (at DESC, id)         a page of 3
//!   ─────────────────────        ──────────────────────────   ───────────────────────────
//!   where ─▶ behind cursor ─▶ top-k by the order ─▶ columns   r1 r2 r3 | r4 (is there more?)
//! ```
//!
//! A key is declared, not enforced, so rows may be equal in every column of the order, and then no
//! order is fixed between two runs of the plan. Reading every column of every row to break ties that
//! nearly never exist would cost more than the page. So the page is read by the order alone first;
//! only if two neighbours turn out to be equal there (the row behind the page included), it is read
//! again with the row's identity, a digest of all its columns, as the last term. Rows with the same
//! identity are the same in every column, and which of them is which nobody can tell: the cursor
//! counts them. A cursor whose row had no equal is right under either order, so no row is lost and
//! none is given twice.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::row::{RowConverter, Rows, SortField};
use async_graphql::Value;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, SortExpr};
use datasets::ColumnType;
use engine::{Error, Result, Session, Version};
use futures::TryStreamExt;

use super::cursor::{Cursor, Tie};
use super::functions::{identity_literal, row_identity};
use super::holding::{ForAWhile, Holding};
use super::order::{Behind, Direction, Term, Tied, behind, by_name, sort_key};
use super::values::{canonical, to_values};
use crate::error::over_limit;
use crate::shape::Shape;

/// What a page is asked for.
pub(crate) struct PageRequest {
    /// The version that is read.
    pub version: Version,
    /// [`super::cursor::fingerprint`] of dataset, filter and order.
    pub question: String,
    /// The filter.
    pub predicate: Option<Expr>,
    /// The order.
    pub terms: Vec<Term>,
    /// Where to continue.
    pub after: Option<Cursor>,
    /// Whether it continues another page.
    pub continued: bool,
    /// Rows of the page.
    pub first: usize,
    /// Columns that the answer shows.
    pub columns: BTreeSet<usize>,
}

/// A page.
#[derive(Debug)]
pub(crate) struct Page {
    /// Number of rows.
    pub rows: usize,
    /// Whether rows stand behind it.
    pub has_next: bool,
    /// Values of the columns that were asked for.
    pub columns: HashMap<usize, Vec<Value>>,
    /// Values that could not be expressed, by column.
    pub not_finite: Vec<(usize, u64)>,
    version: Version,
    question: String,
    /// Values of the order's columns, a column at a time.
    keys: Vec<ArrayRef>,
    ties: Option<Vec<Tie>>,
}

const IDENTITY: &str = "_row_identity";

/// Reads a page of `table`.
pub(crate) async fn read_page(
    session: &Session,
    table: DataFrame,
    shape: &Shape,
    request: &PageRequest,
    holding: &Holding,
) -> Result<Page> {
    let table = match &request.predicate {
        Some(predicate) => table.filter(predicate.clone())?,
        None => table,
    };
    let tied_before = request.after.as_ref().is_some_and(|cursor| cursor.tie.is_some());
    if !request.terms.is_empty() && !tied_before {
        let reading = Reading { session, shape, request, holding };
        let batch = reading.by_order(table.clone()).await?;
        let keys = reading.keys(&batch)?;
        let rows = comparable(&keys)?;
        if (1..batch.num_rows()).all(|i| rows.row(i - 1) != rows.row(i)) {
            return reading.page(&batch, keys, None);
        }
    }
    let reading = Reading { session, shape, request, holding };
    let batch = reading.by_identity(table).await?;
    let keys = reading.keys(&batch)?;
    let ties = reading.ties(&batch, &keys)?;
    reading.page(&batch, keys, Some(ties))
}

/// Counts the rows of `table` that `predicate` takes.
pub(crate) async fn count_rows(
    session: &Session,
    table: DataFrame,
    predicate: Option<&Expr>,
) -> Result<u64> {
    let table = match predicate {
        Some(predicate) => table.filter(predicate.clone())?,
        None => table,
    };
    let count = datafusion::functions_aggregate::expr_fn::count(datafusion::prelude::lit(1i64));
    let batches = session.collect(table.aggregate(vec![], vec![count.alias("rows")])?).await?;
    let count = batches
        .first()
        .and_then(|batch| batch.column(0).as_primitive_opt::<arrow::datatypes::Int64Type>())
        .filter(|counts| counts.len() == 1)
        .map(|counts| counts.value(0));
    match count.map(u64::try_from) {
        Some(Ok(count)) => Ok(count),
        _ => Err(Error::internal("a count gave no number")),
    }
}

/// Runs `frame` and joins its rows, which must not take more than a page may, and than the answer may hold.
pub(crate) async fn collect_bounded<'a>(
    session: &Session,
    frame: DataFrame,
    holding: &'a Holding,
) -> Result<Collected<'a>> {
    let bytes_max = holding.page_bytes_max();
    let mut stream = session.stream(frame).await?;
    let schema = stream.schema();
    let (mut batches, mut bytes) = (Vec::new(), 0);
    let mut while_reading = holding.for_a_while();
    while let Some(batch) = stream.try_next().await.map_err(Error::from)? {
        let more = batch.get_array_memory_size();
        bytes += more;
        if bytes > bytes_max {
            return Err(over_limit(
                "bytes of the rows of one page; ask for fewer rows or columns",
                bytes_max,
                format!("more than {bytes}"),
            ));
        }
        while_reading.hold(more)?;
        batches.push(batch);
    }
    let joined = arrow::compute::concat_batches(&schema, &batches)?;
    // What was read may be small parts of long columns.
    drop((batches, while_reading));
    let mut held = holding.for_a_while();
    held.hold(joined.get_array_memory_size())?;
    Ok(Collected { batch: joined, _held: held })
}

/// Rows, whose memory is counted until they are dropped.
pub(crate) struct Collected<'a> {
    batch: RecordBatch,
    _held: ForAWhile<'a>,
}

impl Deref for Collected<'_> {
    type Target = RecordBatch;

    fn deref(&self) -> &RecordBatch {
        &self.batch
    }
}

struct Reading<'a> {
    session: &'a Session,
    shape: &'a Shape,
    request: &'a PageRequest,
    holding: &'a Holding,
}

impl Reading<'_> {
    async fn by_order(&self, table: DataFrame) -> Result<Collected<'_>> {
        let table = match &self.request.after {
            Some(cursor) => table.filter(behind(self.behind(cursor), Tied::Excluded)?)?,
            None => table,
        };
        self.collect(table, self.sorting(), 0, None).await
    }

    async fn by_identity(&self, table: DataFrame) -> Result<Collected<'_>> {
        let all = self.shape.columns.iter().map(|column| by_name(&column.name)).collect();
        let identity = row_identity(all);
        let ascending = Direction { ascending: true, nulls_first: false };
        let (table, skip) = match &self.request.after {
            None => (table, 0),
            Some(cursor) => {
                let mut terms = self.behind(cursor);
                match &cursor.tie {
                    None => (table.filter(behind(terms, Tied::Excluded)?)?, 0),
                    Some(tie) => {
                        terms.push(Behind {
                            key: identity.clone(),
                            value: identity_literal(&tie.identity),
                            direction: ascending,
                            nullable: false,
                        });
                        let skip = usize::try_from(tie.seen).map_err(|_| {
                            crate::error::bad_input("after: a cursor with an impossible count")
                        })?;
                        (table.filter(behind(terms, Tied::Included)?)?, skip)
                    }
                }
            }
        };
        let mut sorting = self.sorting();
        sorting.push(ascending.sort(identity.clone()));
        self.collect(table, sorting, skip, Some(identity.alias(IDENTITY))).await
    }

    fn sorting(&self) -> Vec<SortExpr> {
        let term = |t: &Term| t.direction.sort(sort_key(&self.shape.columns[t.column]));
        self.request.terms.iter().map(term).collect()
    }

    fn behind(&self, cursor: &Cursor) -> Vec<Behind> {
        let terms = self.request.terms.iter().zip(&cursor.values);
        terms
            .map(|(term, value)| {
                let column = &self.shape.columns[term.column];
                Behind {
                    key: sort_key(column),
                    value: value.clone(),
                    direction: term.direction,
                    nullable: column.nullable,
                }
            })
            .collect()
    }

    async fn collect(
        &self,
        table: DataFrame,
        sorting: Vec<SortExpr>,
        skip: usize,
        identity: Option<Expr>,
    ) -> Result<Collected<'_>> {
        let keys = self.request.terms.iter().map(|t| t.column);
        let shown: BTreeSet<usize> = self.request.columns.iter().copied().chain(keys).collect();
        let mut output: Vec<Expr> =
            shown.iter().map(|i| by_name(&self.shape.columns[*i].name)).collect();
        output.extend(identity);
        if output.is_empty() {
            output.push(datafusion::prelude::lit(true).alias("row"));
        }
        let frame =
            table.sort(sorting)?.limit(skip, Some(self.request.first + 1))?.select(output)?;
        collect_bounded(self.session, frame, self.holding).await
    }

    /// The values that the rows are ordered by.
    fn keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let terms = self.request.terms.iter();
        terms
            .map(|term| {
                let column = &self.shape.columns[term.column];
                let array = canonical(named(batch, &column.name)?, &column.kind)?;
                Ok(match column.kind {
                    ColumnType::Float32 | ColumnType::Float64 => one_nan(&array),
                    _ => array,
                })
            })
            .collect()
    }

    fn ties(&self, batch: &RecordBatch, keys: &[ArrayRef]) -> Result<Vec<Tie>> {
        let rows = comparable(keys)?;
        let identities = named(batch, IDENTITY)?;
        let Some(identities) = identities.as_fixed_size_binary_opt() else {
            return Err(Error::internal("row identities of another type"));
        };
        let mut ties: Vec<Tie> = Vec::with_capacity(batch.num_rows());
        for i in 0..batch.num_rows() {
            let identity = identities.value(i);
            let seen_before = match (i, &self.request.after) {
                (0, Some(Cursor { tie: Some(tie), values, .. })) => {
                    let same = tie.identity == identity && values_at(keys, 0)? == *values;
                    if same { tie.seen } else { 0 }
                }
                (0, _) => 0,
                _ => {
                    let same_keys = keys.is_empty() || rows.row(i - 1) == rows.row(i);
                    let same = same_keys && ties[i - 1].identity == identity;
                    if same { ties[i - 1].seen } else { 0 }
                }
            };
            ties.push(Tie { identity: identity.to_vec(), seen: seen_before + 1 });
        }
        Ok(ties)
    }

    fn page(
        &self,
        batch: &RecordBatch,
        keys: Vec<ArrayRef>,
        ties: Option<Vec<Tie>>,
    ) -> Result<Page> {
        let rows = batch.num_rows().min(self.request.first);
        let mut columns = HashMap::new();
        let mut not_finite = Vec::new();
        for position in &self.request.columns {
            let column = &self.shape.columns[*position];
            let shown = named(batch, &column.name)?.slice(0, rows);
            let converted = to_values(&shown, &column.kind, self.holding)?;
            if converted.not_finite > 0 {
                not_finite.push((*position, converted.not_finite));
            }
            columns.insert(*position, converted.values);
        }
        Ok(Page {
            rows,
            has_next: batch.num_rows() > self.request.first,
            columns,
            not_finite,
            version: self.request.version,
            question: self.request.question.clone(),
            keys,
            ties,
        })
    }
}

impl Page {
    /// The cursor of a row.
    pub(crate) fn cursor(&self, row: usize) -> Result<String> {
        Cursor {
            version: self.version,
            question: self.question.clone(),
            values: values_at(&self.keys, row)?,
            tie: self.ties.as_ref().and_then(|ties| ties.get(row).cloned()),
        }
        .encode()
    }
}

/// A column of `batch`.
pub(crate) fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("the plan gave no column {name}")))
}

fn values_at(keys: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    Ok(keys
        .iter()
        .map(|key| ScalarValue::try_from_array(key, row))
        .collect::<datafusion::error::Result<_>>()?)
}

/// Rows that compare equal exactly when their values do. Without columns there are no rows.
fn comparable(keys: &[ArrayRef]) -> Result<Rows> {
    let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(keys)?)
}

/// The values as [`super::functions::ordered_float`] gives them to the plan.
fn one_nan(array: &ArrayRef) -> ArrayRef {
    use arrow::datatypes::{Float32Type, Float64Type};
    use std::sync::Arc;
    if let Some(floats) = array.as_primitive_opt::<Float32Type>() {
        return Arc::new(floats.unary::<_, Float32Type>(super::functions::ordered_f32));
    }
    if let Some(floats) = array.as_primitive_opt::<Float64Type>() {
        return Arc::new(floats.unary::<_, Float64Type>(super::functions::ordered_f64));
    }
    array.clone()
}
