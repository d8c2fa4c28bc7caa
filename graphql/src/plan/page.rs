//! One page of rows: a plan that filters, orders, skips to the cursor and takes so many rows; or the rows before a cursor, in the
//! order turned round, and turned back.
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
//! counts them from the front. A cursor whose row had no equal is right under either order, so no row is lost and
//! none is given twice.

use std::collections::{BTreeSet, HashMap};
use std::ops::Deref;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryArray, RecordBatch, UInt64Array};
use arrow::compute::{take_arrays, take_record_batch};
use arrow::row::{RowConverter, Rows, SortField};
use async_graphql::Value;
use datafusion::common::ScalarValue;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, SortExpr, lit};
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
    /// Whether it is of the rows behind its cursor, or before it.
    pub way: Way,
    /// Where to go on from: the begin or the end of all, where there is none.
    pub from: Option<Cursor>,
    /// Rows of the page.
    pub rows: usize,
    /// Columns that the answer shows.
    pub columns: BTreeSet<usize>,
    /// Columns whose values lead on to other rows.
    pub kept: BTreeSet<usize>,
}

/// The way that pages are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `first` rows behind `after`.
    Forward,
    /// `last` rows before `before`.
    Backward,
}

impl Way {
    /// The argument that says where to go on from.
    pub(crate) fn cursor_name(self) -> &'static str {
        match self {
            Self::Forward => "after",
            Self::Backward => "before",
        }
    }

    fn direct(self, direction: Direction) -> Direction {
        match self {
            Self::Forward => direction,
            Self::Backward => direction.reversed(),
        }
    }
}

/// A page. By default one of which nothing is shown.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Number of rows.
    pub rows: usize,
    /// Whether rows stand behind it; of one before a cursor, whether there is one.
    pub has_next: bool,
    /// Whether rows stand before it; of one behind a cursor, whether there is one.
    pub has_previous: bool,
    /// Values of the columns that were asked for.
    pub columns: HashMap<usize, Vec<Value>>,
    /// Values of columns that lead on.
    pub kept: HashMap<usize, ArrayRef>,
    /// Values that could not be expressed, by column.
    pub not_finite: Vec<(usize, u64)>,
    version: Version,
    question: String,
    /// Values of the order's columns, a column at a time.
    keys: Vec<ArrayRef>,
    ties: Option<Vec<Tie>>,
}

pub(super) const IDENTITY: &str = "_row_identity";
pub(super) const ASCENDING: Direction = Direction { ascending: true, nulls_first: false };

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
    let tied_before = request.from.as_ref().is_some_and(|cursor| cursor.tie.is_some());
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
    let batch = reading.by_identity(table.clone()).await?;
    let keys = reading.keys(&batch)?;
    let ties = match request.way {
        Way::Forward => reading.ties(&batch, &keys)?,
        Way::Backward => reading.ties_from_the_end(table, &batch, &keys).await?,
    };
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
    let count = datafusion::functions_aggregate::expr_fn::count(lit(1i64));
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

pub(super) struct Reading<'a> {
    pub(super) session: &'a Session,
    pub(super) shape: &'a Shape,
    pub(super) request: &'a PageRequest,
    pub(super) holding: &'a Holding,
}

impl Reading<'_> {
    async fn by_order(&self, table: DataFrame) -> Result<Collected<'_>> {
        let table = match &self.request.from {
            Some(cursor) => table.filter(behind(self.behind(cursor), Tied::Excluded)?)?,
            None => table,
        };
        self.collect(table, self.sorting(), 0, None).await
    }

    async fn by_identity(&self, table: DataFrame) -> Result<Collected<'_>> {
        let (identity, direction) = (identity_of(self.shape), self.request.way.direct(ASCENDING));
        let (table, skip) = self.behind_identity(table).await?;
        let mut sorting = self.sorting();
        sorting.push(direction.sort(identity.clone()));
        self.collect(table, sorting, skip, Some(identity.alias(IDENTITY))).await
    }

    /// Rows of `table` from the cursor's on, where their identities order them, and how many of these stand before the page.
    pub(super) async fn behind_identity(&self, table: DataFrame) -> Result<(DataFrame, usize)> {
        let Some(cursor) = &self.request.from else { return Ok((table, 0)) };
        let Some(tie) = &cursor.tie else {
            return Ok((table.filter(behind(self.behind(cursor), Tied::Excluded)?)?, 0));
        };
        let skip = match self.request.way {
            Way::Forward => tie.seen,
            // Those from the cursor's row on.
            Way::Backward => {
                let all = self.like(table.clone(), &cursor.values, &tie.identity);
                (all.await? + 1).saturating_sub(tie.seen)
            }
        };
        let skip = usize::try_from(skip)
            .map_err(|_| crate::error::bad_input("a cursor with an impossible count"))?;
        let mut terms = self.behind(cursor);
        terms.push(Behind {
            key: identity_of(self.shape),
            value: identity_literal(&tie.identity),
            direction: self.request.way.direct(ASCENDING),
            nullable: false,
        });
        Ok((table.filter(behind(terms, Tied::Included)?)?, skip))
    }

    pub(super) fn sorting(&self) -> Vec<SortExpr> {
        let way = self.request.way;
        let term = |t: &Term| way.direct(t.direction).sort(sort_key(&self.shape.columns[t.column]));
        self.request.terms.iter().map(term).collect()
    }

    pub(super) fn behind(&self, cursor: &Cursor) -> Vec<Behind> {
        let terms = self.request.terms.iter().zip(&cursor.values);
        terms
            .map(|(term, value)| {
                let column = &self.shape.columns[term.column];
                Behind {
                    key: sort_key(column),
                    value: value.clone(),
                    direction: self.request.way.direct(term.direction),
                    nullable: column.nullable,
                }
            })
            .collect()
    }

    /// How many rows have these values and this identity: they are the same in every column.
    async fn like(&self, table: DataFrame, values: &[ScalarValue], identity: &[u8]) -> Result<u64> {
        let mut alike = identity_of(self.shape).eq(lit(identity_literal(identity)));
        // Those of a condition on a column need not all be looked at.
        for (term, value) in self.request.terms.iter().zip(values) {
            let key = sort_key(&self.shape.columns[term.column]);
            alike = match value.is_null() {
                true => key.is_null(),
                false => key.eq(lit(value.clone())),
            }
            .and(alike);
        }
        count_rows(self.session, table, Some(&alike)).await
    }

    async fn collect(
        &self,
        table: DataFrame,
        sorting: Vec<SortExpr>,
        skip: usize,
        identity: Option<Expr>,
    ) -> Result<Collected<'_>> {
        let keys = self.request.terms.iter().map(|t| t.column);
        let shown = self.request.columns.iter().chain(&self.request.kept).copied();
        let shown: BTreeSet<usize> = shown.chain(keys).collect();
        let mut output: Vec<Expr> =
            shown.iter().map(|i| by_name(&self.shape.columns[*i].name)).collect();
        output.extend(identity);
        if output.is_empty() {
            output.push(lit(true).alias("row"));
        }
        let frame =
            table.sort(sorting)?.limit(skip, Some(self.request.rows + 1))?.select(output)?;
        collect_bounded(self.session, frame, self.holding).await
    }

    /// The values that the rows are ordered by.
    pub(super) fn keys(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
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
        let identities = identities(batch)?;
        let mut ties: Vec<Tie> = Vec::with_capacity(batch.num_rows());
        for i in 0..batch.num_rows() {
            let identity = identities.value(i);
            let seen_before = match (i, &self.request.from) {
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

    /// The same of rows that come from the end: of those that are alike the last comes first.
    async fn ties_from_the_end(
        &self,
        table: DataFrame,
        batch: &RecordBatch,
        keys: &[ArrayRef],
    ) -> Result<Vec<Tie>> {
        let (rows, identities) = (comparable(keys)?, identities(batch)?);
        let alike = |i: usize, j: usize| {
            let same_keys = keys.is_empty() || rows.row(i) == rows.row(j);
            same_keys && identities.value(i) == identities.value(j)
        };
        let mut ties: Vec<Tie> = Vec::with_capacity(batch.num_rows());
        while ties.len() < batch.num_rows() {
            let begin = ties.len();
            let end = (begin..batch.num_rows()).find(|i| !alike(begin, *i));
            let identity = identities.value(begin).to_vec();
            let values = values_at(keys, begin)?;
            let from =
                self.request.from.as_ref().filter(|from| begin == 0 && from.values == values);
            let tied = from.and_then(|from| from.tie.as_ref());
            let last = match (tied.filter(|tie| tie.identity == identity), end) {
                (Some(tie), _) => tie.seen.saturating_sub(1),
                (None, Some(end)) => (end - begin) as u64,
                // There may be more than were read.
                (None, None) => self.like(table.clone(), &values, &identity).await?,
            };
            for seen in (0..end.unwrap_or(batch.num_rows()) - begin).map(|i| i as u64) {
                ties.push(Tie { identity: identity.clone(), seen: last.saturating_sub(seen) });
            }
        }
        Ok(ties)
    }

    fn page(
        &self,
        batch: &RecordBatch,
        keys: Vec<ArrayRef>,
        ties: Option<Vec<Tie>>,
    ) -> Result<Page> {
        let rows = batch.num_rows().min(self.request.rows);
        let has_more = batch.num_rows() > self.request.rows;
        let is_continued = self.request.from.is_some();
        let (has_next, has_previous) = match self.request.way {
            Way::Forward => (has_more, is_continued),
            Way::Backward => (is_continued, has_more),
        };
        let (batch, keys, ties) = match self.request.way {
            Way::Forward => (batch.slice(0, rows), keys, ties),
            Way::Backward => turned_round(&batch.slice(0, rows), &keys, ties)?,
        };
        let mut columns = HashMap::new();
        let mut not_finite = Vec::new();
        for position in &self.request.columns {
            let column = &self.shape.columns[*position];
            let shown = named(&batch, &column.name)?;
            let converted = to_values(shown, &column.kind, self.holding)?;
            if converted.not_finite > 0 {
                not_finite.push((*position, converted.not_finite));
            }
            columns.insert(*position, converted.values);
        }
        let kept = self.request.kept.iter().map(|position| {
            let column = &self.shape.columns[*position];
            Ok((*position, canonical(named(&batch, &column.name)?, &column.kind)?))
        });
        let kept = kept.collect::<Result<_>>()?;
        Ok(Page {
            rows,
            has_next,
            has_previous,
            columns,
            kept,
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

/// A digest of all columns of a row.
pub(super) fn identity_of(shape: &Shape) -> Expr {
    row_identity(shape.columns.iter().map(|column| by_name(&column.name)).collect())
}

/// A column of `batch`.
pub(crate) fn named<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch
        .column_by_name(name)
        .ok_or_else(|| Error::internal(format!("the plan gave no column {name}")))
}

/// The identities of rows, as the plan gave them.
pub(super) fn identities(batch: &RecordBatch) -> Result<&FixedSizeBinaryArray> {
    let identities = named(batch, IDENTITY)?.as_fixed_size_binary_opt();
    identities.ok_or_else(|| Error::internal("row identities of another type"))
}

/// Rows, their keys and ties, the last first.
#[allow(clippy::type_complexity)]
fn turned_round(
    batch: &RecordBatch,
    keys: &[ArrayRef],
    ties: Option<Vec<Tie>>,
) -> Result<(RecordBatch, Vec<ArrayRef>, Option<Vec<Tie>>)> {
    let rows = batch.num_rows() as u64;
    let order = UInt64Array::from_iter_values((0..rows).rev());
    let ties = ties.map(|mut ties| {
        ties.truncate(batch.num_rows());
        ties.reverse();
        ties
    });
    Ok((take_record_batch(batch, &order)?, take_arrays(keys, &order, None)?, ties))
}

pub(super) fn values_at(keys: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    Ok(keys
        .iter()
        .map(|key| ScalarValue::try_from_array(key, row))
        .collect::<datafusion::error::Result<_>>()?)
}

/// Rows that compare equal exactly when their values do. Without columns there are no rows.
pub(super) fn comparable(keys: &[ArrayRef]) -> Result<Rows> {
    let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
    Ok(RowConverter::new(fields)?.convert_columns(keys)?)
}

/// The values as [`super::functions::ordered_float`] gives them to the plan.
pub(super) fn one_nan(array: &ArrayRef) -> ArrayRef {
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
