//! A page of rows that is streamed, so that it may be long: where it ends is known before its first row is read, and no more of it is
//! in memory than what sorts it, which spills.
//!
//! ```text
//!  where ─▶ behind cursor ─▶ sorted, the order's columns alone ─▶ where it ends, whether there is more
//!  where ─▶ behind cursor ─▶ not behind that end ─▶ sorted ─▶ columns, a batch at a time
//! ```
//!
//! Rows that the order can not tell apart are ordered by their identity, as in [`super::page`], and the cursors are the same: a page
//! of either kind goes on where one of the other ended.

use std::collections::BTreeSet;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, SortExpr};
use engine::{Error, Result, Session};
use futures::TryStreamExt;

use super::cursor::{Cursor, Tie};
use super::functions::identity_literal;
use super::holding::Holding;
use super::order::{Behind, Tied, behind, by_name, sort_key};
use super::page::{
    ASCENDING, IDENTITY, PageRequest, Reading, Way, identities, identity_of, values_at,
};
use crate::shape::Shape;

/// Rows that are looked for as the first of all. More of them come sooner where all are sorted, which spills: of two million rows the
/// first million took twenty times as long by a heap.
const FIRST_ROWS_MAX: usize = 20_000;

/// Where a page ends, and the plan of its rows.
pub(crate) struct StreamedPage {
    /// How many rows it has.
    pub rows: usize,
    /// Whether rows stand behind it.
    pub has_next: bool,
    /// The cursor of its last row.
    pub end_cursor: Option<String>,
    /// Its rows in their order, behind so many that are not of it.
    pub frame: DataFrame,
    /// How many these are.
    pub skip: usize,
}

/// Plans a page of `table`. It goes forward.
pub(crate) async fn plan_page(
    session: &Session,
    table: DataFrame,
    shape: &Shape,
    request: &PageRequest,
    holding: &Holding,
) -> Result<StreamedPage> {
    if request.way == Way::Backward {
        return Err(Error::internal("a page is streamed forward"));
    }
    let reading = Reading { session, shape, request, holding };
    let tied_before = request.from.as_ref().is_some_and(|cursor| cursor.tie.is_some());
    if !request.terms.is_empty() && !tied_before {
        let from = match &request.from {
            Some(cursor) => {
                table.clone().filter(behind(reading.behind(cursor), Tied::Excluded)?)?
            }
            None => table.clone(),
        };
        let span = Span { reading: &reading, table: from, skip: 0, by: By::Order };
        if let Some(page) = span.page().await? {
            return Ok(page);
        }
    }
    let (table, skip) = reading.behind_identity(table).await?;
    let span = Span { reading: &reading, table, skip, by: By::Identity };
    span.page().await?.ok_or_else(|| Error::internal("rows without a fixed order"))
}

/// What rows are ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The terms of the request.
    Order,
    /// These, and what tells rows apart that are equal in all of them.
    Identity,
}

/// Rows behind a cursor.
struct Span<'a> {
    reading: &'a Reading<'a>,
    table: DataFrame,
    skip: usize,
    by: By,
}

impl Span<'_> {
    /// The page at their begin; none where rows are equal that this order is to tell apart.
    async fn page(self) -> Result<Option<StreamedPage>> {
        let request = self.reading.request;
        let Some((rows, end)) = self.walk().await? else { return Ok(None) };
        let has_next = rows > request.rows;
        let rows = rows.min(request.rows);
        let (table, end_cursor) = match end {
            None => (self.table.clone().limit(0, Some(0))?, None),
            Some(end) => {
                let until = self.until(&end)?;
                (self.table.clone().filter(until)?, Some(end.encode()?))
            }
        };
        let shape = self.reading.shape;
        let output: Vec<Expr> =
            request.columns.iter().map(|at| by_name(&shape.columns[*at].name)).collect();
        let frame = table.sort(self.sorting())?.select(output)?;
        Ok(Some(StreamedPage { rows, has_next, end_cursor, frame, skip: self.skip }))
    }

    fn sorting(&self) -> Vec<SortExpr> {
        let mut sorting = self.reading.sorting();
        if self.by == By::Identity {
            sorting.push(ASCENDING.sort(identity_of(self.reading.shape)));
        }
        sorting
    }

    /// Goes through the order of the rows of the page and one more: how many there are, and the last of the page.
    async fn walk(&self) -> Result<Option<(usize, Option<Cursor>)>> {
        let Reading { session, shape, request, .. } = self.reading;
        let columns: BTreeSet<usize> = request.terms.iter().map(|term| term.column).collect();
        let mut output: Vec<Expr> =
            columns.iter().map(|at| by_name(&shape.columns[*at].name)).collect();
        if self.by == By::Identity {
            output.push(identity_of(shape).alias(IDENTITY));
        }
        let (mut skip, most) = (self.skip, request.rows + 1);
        let mut frame = self.table.clone().sort(self.sorting())?;
        if skip.saturating_add(most) <= FIRST_ROWS_MAX {
            frame = frame.limit(0, Some(skip + most))?;
        }
        let frame = frame.select(output)?;
        let mut batches = session.stream(frame).await?;
        let mut converter: Option<RowConverter> = None;
        let (mut seen, mut end) = (0, None);
        // Of the row before.
        let (mut last, mut last_tie) = (None::<Vec<u8>>, None::<Tie>);
        while seen < most
            && let Some(batch) = batches.try_next().await.map_err(Error::from)?
        {
            let skipped = skip.min(batch.num_rows());
            skip -= skipped;
            let rows = (batch.num_rows() - skipped).min(most - seen);
            let batch = batch.slice(skipped, rows);
            let keys = self.reading.keys(&batch)?;
            let rows = match &converter {
                Some(converter) => converter.convert_columns(&keys)?,
                None => {
                    let fields = keys.iter().map(|k| SortField::new(k.data_type().clone()));
                    converter.insert(RowConverter::new(fields.collect())?).convert_columns(&keys)?
                }
            };
            for at in 0..batch.num_rows() {
                let row = (!keys.is_empty()).then(|| rows.row(at));
                // Without terms all are equal.
                let key = row.as_ref().map_or(&[][..], |row| row.as_ref());
                let is_same = last.as_deref() == Some(key);
                let tie = match self.by {
                    By::Order if is_same => return Ok(None),
                    By::Order => None,
                    By::Identity => {
                        let before = last_tie.take().filter(|_| is_same);
                        Some(self.tie(&batch, &keys, at, before, last.is_none())?)
                    }
                };
                seen += 1;
                if seen == request.rows || (seen < request.rows && at + 1 == batch.num_rows()) {
                    end = Some(Cursor {
                        version: request.version,
                        question: request.question.clone(),
                        values: values_at(&keys, at)?,
                        tie: tie.clone(),
                    });
                }
                let last = last.get_or_insert_default();
                last.clear();
                last.extend_from_slice(key);
                last_tie = tie;
            }
        }
        Ok(Some((seen, end)))
    }

    /// What tells a row from those that are equal in the order; `before` is the same of the row before, where that is one of them.
    fn tie(
        &self,
        batch: &RecordBatch,
        keys: &[ArrayRef],
        at: usize,
        before: Option<Tie>,
        is_first: bool,
    ) -> Result<Tie> {
        let identity = identities(batch)?.value(at).to_vec();
        let seen = match (before, &self.reading.request.from) {
            (Some(before), _) if before.identity == identity => before.seen,
            (_, Some(Cursor { tie: Some(tie), values, .. }))
                if is_first && tie.identity == identity && values_at(keys, at)? == *values =>
            {
                tie.seen
            }
            _ => 0,
        };
        Ok(Tie { identity, seen: seen + 1 })
    }

    /// All rows up to and with those that are equal to the one of this cursor.
    fn until(&self, end: &Cursor) -> Result<Expr> {
        let Reading { shape, request, .. } = self.reading;
        let terms = request.terms.iter().zip(&end.values).map(|(term, value)| {
            let column = &shape.columns[term.column];
            Behind {
                key: sort_key(column),
                value: value.clone(),
                direction: term.direction.reversed(),
                nullable: column.nullable,
            }
        });
        let mut terms: Vec<Behind> = terms.collect();
        if let Some(tie) = &end.tie {
            terms.push(Behind {
                key: identity_of(shape),
                value: identity_literal(&tie.identity),
                direction: ASCENDING.reversed(),
                nullable: false,
            });
        }
        behind(terms, Tied::Included)
    }
}
