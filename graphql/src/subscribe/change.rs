//! The change of a dataset between two versions, as one subscriber's filter sees it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_graphql::Value;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;
use engine::{Changes, Code, Error, Principal, Result, RunId, Version};

use super::shared::Weigh;
use crate::plan::holding::Holding;
use crate::plan::order::{by_name, sort_key, terms};
use crate::plan::page::{collect_bounded, count_rows, named};
use crate::plan::predicate::predicate;
use crate::plan::values::to_values;
use crate::schema::row::Columns;
use crate::service::ServiceInner;
use crate::shape::Shape;

/// One side of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Rows that came.
    Added,
    /// Rows that went.
    Removed,
}

/// A change.
pub(crate) struct Change {
    /// The dataset.
    pub shape: Arc<Shape>,
    /// The version that it begins from.
    pub from: Version,
    /// The version that it leads to.
    pub to: Version,
    service: Arc<ServiceInner>,
    who: Principal,
    filter: Option<Value>,
    changes: Arc<Shared<Changes>>,
}

/// Rows of one side.
pub(crate) struct ChangedRows {
    /// How many.
    pub rows: usize,
    /// Their columns.
    pub columns: Arc<Columns>,
    /// Values that could not be expressed, by column.
    pub not_finite: Vec<(usize, u64)>,
    bytes: usize,
}

/// A shared value whose weight is known.
pub(crate) struct Shared<T> {
    value: T,
    bytes: usize,
}

impl<T: Send + Sync + 'static> Weigh for Shared<T> {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Weigh for ChangedRows {
    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A plan holds its session's state, schema and file lists: 1.5 MB of resident memory, measured over
/// 90 of them.
const PLAN_BYTES: usize = 2 << 20;
const COUNT_BYTES: usize = 64;

impl Change {
    /// Reads what changed between two versions; NOT_FOUND when they are not kept apart any more.
    pub(crate) async fn read(
        service: Arc<ServiceInner>,
        who: Principal,
        shape: Arc<Shape>,
        filter: Option<Value>,
        from: Version,
        to: Version,
    ) -> Result<Self> {
        let key = format!("{} {from} {to}", scope(&who, &shape));
        let changes = service
            .shared
            .get(key, async {
                let value = service.engine.changes(&who, &shape.name, from, to).await?;
                Ok(Shared { value, bytes: PLAN_BYTES })
            })
            .await?;
        Ok(Self { shape, from, to, service, who, filter, changes })
    }

    /// The same, told as the change from a version before that has the same rows as the one that it was read from.
    pub(crate) fn told_from(self, from: Version) -> Self {
        Self { from, ..self }
    }

    /// Whether it is the net change of several commits.
    pub(crate) fn is_collapsed(&self) -> bool {
        self.changes.value.commits > 1
    }

    /// Whether the same rows only lie in other files.
    pub(crate) fn is_none(&self) -> bool {
        self.changes.value.commits == 0
    }

    /// What tells messages about it from all others, beside what is asked.
    pub(crate) fn message_scope(&self) -> String {
        format!("{} {} {}", scope(&self.who, &self.shape), self.from, self.to)
    }

    /// The runs that made the versions.
    pub(crate) fn run_ids(&self) -> &[RunId] {
        &self.changes.value.run_ids
    }

    /// The number of rows on one side.
    pub(crate) async fn count(&self, side: Side) -> Result<u64> {
        let count = self.service.shared.get(self.key(side, "count"), async {
            self.in_time(async {
                let session = self.service.engine.session_expecting(&self.who, &[]).await?;
                let value =
                    count_rows(&session, self.side(side), self.predicate()?.as_ref()).await?;
                Ok(Shared { value, bytes: COUNT_BYTES })
            })
            .await
        });
        Ok(count.await?.value)
    }

    /// The first rows of one side, with these columns.
    pub(crate) async fn rows(
        &self,
        side: Side,
        first: usize,
        shown: &BTreeSet<usize>,
    ) -> Result<Arc<ChangedRows>> {
        let key = self.key(side, &format!("rows {first} {shown:?}"));
        let rows = self.service.shared.get(key, self.in_time(self.read_rows(side, first, shown)));
        rows.await
    }

    async fn read_rows(
        &self,
        side: Side,
        first: usize,
        shown: &BTreeSet<usize>,
    ) -> Result<ChangedRows> {
        let session = self.service.engine.session_expecting(&self.who, &[]).await?;
        let mut frame = self.side(side);
        if let Some(predicate) = self.predicate()? {
            frame = frame.filter(predicate)?;
        }
        let column = |i: &usize| &self.shape.columns[*i];
        let order = terms(&self.shape, None)?;
        let used = shown.iter().chain(order.iter().map(|term| &term.column));
        self.require(used.map(|i| column(i).name.as_str()))?;
        if !order.is_empty() {
            let sort = order.iter().map(|t| t.direction.sort(sort_key(column(&t.column))));
            frame = frame.sort(sort.collect())?;
        }
        let mut output: Vec<Expr> = shown.iter().map(|i| by_name(&column(i).name)).collect();
        if output.is_empty() {
            output.push(datafusion::prelude::lit(true).alias("row"));
        }
        let frame = frame.limit(0, Some(first))?.select(output)?;
        let holding = Holding::new(&self.service.limits);
        let batch = collect_bounded(&session, frame, &holding).await?;
        let mut columns = Columns::new();
        let mut not_finite = Vec::new();
        let mut bytes = COUNT_BYTES;
        for position in shown {
            let converted = to_values(
                named(&batch, &column(position).name)?,
                &column(position).kind,
                &holding,
            )?;
            if converted.not_finite > 0 {
                not_finite.push((*position, converted.not_finite));
            }
            bytes += converted.bytes;
            columns.insert(*position, converted.values);
        }
        Ok(ChangedRows { rows: batch.num_rows(), columns: Arc::new(columns), not_finite, bytes })
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        crate::service::in_time(self.service.limits.operation_time_max, work).await
    }

    fn side(&self, side: Side) -> DataFrame {
        match side {
            Side::Added => self.changes.value.added.clone(),
            Side::Removed => self.changes.value.removed.clone(),
        }
    }

    fn predicate(&self) -> Result<Option<Expr>> {
        let predicate = predicate(&self.shape, self.filter.as_ref(), &self.service.limits)?;
        if let Some(predicate) = &predicate {
            self.require(predicate.column_refs().into_iter().map(|column| column.name()))?;
        }
        Ok(predicate)
    }

    /// Fails where the version that it leads to has a column no more as the subscriber knows it.
    fn require<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let there = self.changes.value.added.schema();
        for name in names {
            let known = self.shape.columns.iter().find(|column| column.name == name);
            let there = there.field_with_unqualified_name(name).ok();
            let is_same = known.is_some_and(|column| {
                there.is_some_and(|field| *field.data_type() == column.kind.arrow_type())
            });
            if !is_same {
                let says = format!(
                    "{}: column {name:?} was renamed, dropped or given another type up to version {}; subscribe again, with since: {}",
                    self.shape.name, self.to, self.from
                );
                return Err(Error::user(Code::Conflict, says));
            }
        }
        Ok(())
    }

    fn key(&self, side: Side, what: &str) -> String {
        let filter = self.filter.as_ref().map(Value::to_string).unwrap_or_default();
        let (scope, from, to) = (scope(&self.who, &self.shape), self.from, self.to);
        format!("{scope} {from} {to} {side:?} {what} {filter}")
    }
}

/// What tells results of one dataset, for those who see the same of it, from all others.
pub(crate) fn scope(who: &Principal, shape: &Shape) -> String {
    format!("{} {} {} {:x}", who.tenant, who.sees().digest(), shape.name, shape.digest)
}
