//! What rules say of the rows of commits: each rule as expressions over the rows that a version added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use analysis::alerts::{Commit, Rule, Sample};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Float64Type, SchemaRef, TimestampMicrosecondType};
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, cast as cast_to, ident};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::DataFrame;
use datasets::DatasetName;
use engine::{Code, CommitRecord, Error, Result, Session, Version};
use futures::StreamExt;

use super::NAME;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::input::{InputTable, is_text};

/// Rows that a new rule looks back on, the newest where it knows which they are.
const FIRST_ROWS_MAX: usize = 1_000_000;
/// Memory of a sample: its group, and as much again while it is sorted.
const SAMPLE_BYTES: usize = 256;

/// A rule as expressions of its dataset's columns.
pub(super) struct Read<'a> {
    pub(super) rule: &'a Rule,
    only: Option<Expr>,
    holds: Option<Expr>,
    value: Option<Expr>,
    at: Option<Expr>,
    by: Vec<Expr>,
}

/// The same, ready for rows of one schema.
struct Compiled {
    only: Option<Arc<dyn PhysicalExpr>>,
    holds: Option<Arc<dyn PhysicalExpr>>,
    value: Option<Arc<dyn PhysicalExpr>>,
    at: Option<Arc<dyn PhysicalExpr>>,
    by: Vec<Arc<dyn PhysicalExpr>>,
}

impl<'a> Read<'a> {
    /// Reads a rule. BAD_INPUT names the rule and the field.
    pub(super) async fn of(
        session: &Session,
        table: &InputTable<'_>,
        dataset: &DatasetName,
        rule: &'a Rule,
    ) -> Result<Self> {
        let wrong = |field: &str, error: Error| {
            bad(NAME, "rules", format!("alert {}: {field}: {error}", rule.name))
        };
        let condition = async |field: &str, text: &Option<String>| match text {
            Some(text) => {
                session.condition(dataset, text).await.map(Some).map_err(|e| wrong(field, e))
            }
            None => Ok(None),
        };
        let is_column = |t: &DataType| t.is_integer() || is_text(t) || *t == DataType::Boolean;
        for column in &rule.by {
            let expected = "a text, truth value or whole number";
            table.check("by", column, expected, is_column).map_err(|e| wrong("by", e))?;
        }
        let at = match &rule.time {
            Some(column) => {
                let fits = |t: &DataType| t.is_temporal();
                let checked = table.check("time", column, "a timestamp or date", fits);
                checked.map_err(|e| wrong("time", e))?;
                Some(cast_to(ident(column), microseconds()))
            }
            None => None,
        };
        let value = match &rule.value {
            Some(text) => {
                let value =
                    session.expression(dataset, text).await.map_err(|e| wrong("value", e))?;
                let kind = table.frame.clone().select(vec![value.clone()])?;
                let kind = kind.schema().field(0).data_type().clone();
                if !kind.is_numeric() && kind != DataType::Null {
                    let says =
                        format!("alert {}: value: expected a number, found {kind}", rule.name);
                    return Err(bad(NAME, "rules", says));
                }
                Some(cast_to(value, DataType::Float64))
            }
            None => None,
        };
        Ok(Self {
            rule,
            only: condition("where", &rule.only).await?,
            holds: condition("condition", &rule.condition).await?,
            value,
            at,
            by: rule.by.iter().map(|column| cast_to(ident(column), DataType::Utf8)).collect(),
        })
    }

    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        [&self.only, &self.holds, &self.value, &self.at].into_iter().flatten().chain(&self.by)
    }

    fn compiled(&self, state: &SessionState, schema: &DFSchema) -> Result<Compiled> {
        let one = |expr: &Expr| Ok::<_, Error>(state.create_physical_expr(expr.clone(), schema)?);
        let some = |expr: &Option<Expr>| expr.as_ref().map(one).transpose();
        Ok(Compiled {
            only: some(&self.only)?,
            holds: some(&self.holds)?,
            value: some(&self.value)?,
            at: some(&self.at)?,
            by: self.by.iter().map(one).collect::<Result<_>>()?,
        })
    }
}

impl Compiled {
    /// What the rule says of the rows of a batch. `at_us` is the instant of those of a rule without a column of time.
    fn samples(&self, batch: &RecordBatch, at_us: i64, samples: &mut Vec<Sample>) -> Result<()> {
        // Of rows that are left out nothing else is computed, which might fail.
        let only = match &self.only {
            Some(only) => {
                let only = only.evaluate(batch)?.into_array(batch.num_rows())?;
                let only = only.as_boolean_opt().ok_or_else(|| {
                    Error::internal(format!("{NAME}: `where` gives no truth values"))
                })?;
                Some(filter_record_batch(batch, only)?)
            }
            None => None,
        };
        let batch = only.as_ref().unwrap_or(batch);
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(());
        }
        let of = |expr: &Arc<dyn PhysicalExpr>| {
            Ok::<ArrayRef, Error>(expr.evaluate(batch)?.into_array(rows)?)
        };
        let some = |expr: &Option<Arc<dyn PhysicalExpr>>| expr.as_ref().map(of).transpose();
        let truth = |array: &Option<ArrayRef>| -> Option<BooleanArray> {
            array.as_ref().and_then(|array| array.as_boolean_opt().cloned())
        };
        let (holds, at) = (truth(&some(&self.holds)?), some(&self.at)?);
        let at = at.as_ref().and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
        let value = some(&self.value)?.map(|value| cast(&value, &DataType::Float64)).transpose()?;
        let value = value.as_ref().and_then(|value| value.as_primitive_opt::<Float64Type>());
        let texts = |expr| Ok(cast(&of(expr)?, &DataType::Utf8)?.as_string::<i32>().clone());
        let by = self.by.iter().map(texts).collect::<Result<Vec<_>>>()?;
        let is_true = |array: &BooleanArray, row| array.is_valid(row) && array.value(row);
        for row in 0..rows {
            // A row without an instant says nothing of any time.
            let is_timeless = self.at.is_some() && at.is_none_or(|at| !at.is_valid(row));
            if is_timeless {
                continue;
            }
            samples.push(Sample {
                group: by
                    .iter()
                    .map(|by| by.is_valid(row).then(|| by.value(row).to_owned()))
                    .collect(),
                at_us: at.map_or(at_us, |at| at.value(row)),
                holds: holds.as_ref().is_some_and(|holds| is_true(holds, row)),
                value: value.and_then(|value| value.is_valid(row).then(|| value.value(row))),
            });
        }
        Ok(())
    }
}

/// Rules of one dataset, and what they need of its rows.
pub(super) struct Reader<'a> {
    ctx: &'a RunContext,
    dataset: &'a DatasetName,
    rules: Vec<Read<'a>>,
    compiled: Option<(SchemaRef, Vec<Option<Compiled>>)>,
    /// Of rules that could not be computed of some rows, why.
    failed: BTreeMap<usize, String>,
}

impl<'a> Reader<'a> {
    /// Also says which rules do not fit the dataset as it is by now: the others go on.
    pub(super) async fn new(
        ctx: &'a RunContext,
        dataset: &'a DatasetName,
        rules: &'a [Rule],
    ) -> Result<(Self, Vec<Error>)> {
        let table = InputTable::open(ctx.session(), NAME, dataset).await?;
        let (mut read, mut unfit) = (Vec::with_capacity(rules.len()), Vec::new());
        for rule in rules {
            match Read::of(ctx.session(), &table, dataset, rule).await {
                Ok(rule) => read.push(rule),
                Err(error) if error.code() == Code::BadInput => unfit.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok((Self { ctx, dataset, rules: read, compiled: None, failed: BTreeMap::new() }, unfit))
    }

    /// Those that fit.
    pub(super) fn rules(&self) -> Vec<&'a Rule> {
        self.rules.iter().map(|read| read.rule).collect()
    }

    /// What can't be computed of rows that were read, by rule.
    pub(super) fn failed(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }

    async fn added(&self, made: &CommitRecord) -> Result<Option<DataFrame>> {
        let (ctx, before) = (self.ctx, Version(made.version.0.saturating_sub(1)));
        let changes =
            ctx.engine().changes(ctx.principal(), self.dataset, before, made.version).await;
        match changes {
            Ok(changes) => Ok(Some(changes.added)),
            Err(error) if error.code() == Code::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a version added, as the rules see it, and for how many of them it was too much; `None` where its files are gone.
    pub(super) async fn commit(
        &mut self,
        made: &CommitRecord,
    ) -> Result<Option<(Vec<Commit>, u64)>> {
        let (version, at_us) = (made.version.0, made.at.timestamp_micros());
        let Some(added) = self.added(made).await? else { return Ok(None) };
        let every: Vec<usize> = (0..self.rules.len()).collect();
        let mut left_out = 0;
        let found = match self.samples(added.clone(), &every, at_us).await {
            Err(error) if error.code() == Code::ResourcesExhausted => {
                let mut found = Vec::with_capacity(every.len());
                for at in every {
                    // One that is too much for a rule alone must not hold up those that come.
                    match self.samples(added.clone(), &[at], at_us).await {
                        Err(error) if error.code() == Code::ResourcesExhausted => {
                            left_out += 1;
                            found.push(Vec::new());
                        }
                        rows => found.extend(rows?),
                    }
                }
                found
            }
            found => found?,
        };
        let commits = found.into_iter().map(|rows| Commit { version, at_us, rows });
        Ok(Some((commits.collect(), left_out)))
    }

    /// The same as one rule sees it.
    pub(super) async fn one(&mut self, at: usize, made: &CommitRecord) -> Result<Commit> {
        let (version, at_us) = (made.version.0, made.at.timestamp_micros());
        let mut found = match self.added(made).await? {
            Some(added) => self.samples(added, &[at], at_us).await?,
            None => Vec::new(),
        };
        Ok(Commit { version, at_us, rows: found.pop().unwrap_or_default() })
    }

    /// All that is there, as one commit of a rule that never looked before: the newest rows, where it knows which they are.
    pub(super) async fn all(&mut self, at: usize, version: Version, at_us: i64) -> Result<Commit> {
        let mut frame = self.ctx.present().await?.table(self.dataset).await?;
        if let Some(read) = self.rules.get(at) {
            if let Some(only) = &read.only {
                frame = frame.filter(only.clone())?;
            }
            if let Some(time) = &read.rule.time {
                frame = frame.sort(vec![ident(time).sort(false, false)])?;
            }
        }
        let most = FIRST_ROWS_MAX.min(self.most());
        let mut found = self.samples(frame.limit(0, Some(most))?, &[at], at_us).await?;
        Ok(Commit { version: version.0, at_us, rows: found.pop().unwrap_or_default() })
    }

    /// Samples that there is room for.
    fn most(&self) -> usize {
        (self.ctx.memory_budget_bytes() / SAMPLE_BYTES).max(1)
    }

    /// What some of the rules say of the rows of `frame`: for each its samples.
    async fn samples(
        &mut self,
        frame: DataFrame,
        of: &[usize],
        at_us: i64,
    ) -> Result<Vec<Vec<Sample>>> {
        let rules = of.iter().filter_map(|at| self.rules.get(*at));
        let needed: BTreeSet<String> = rules
            .flat_map(Read::expressions)
            .flat_map(Expr::column_refs)
            .map(|column| column.name.clone())
            .collect();
        let names: Vec<String> =
            frame.schema().fields().iter().map(|field| field.name().clone()).collect();
        // Rows are counted where nothing of them is needed.
        let mut kept: Vec<Expr> = names.iter().filter(|n| needed.contains(*n)).map(ident).collect();
        if kept.is_empty() {
            kept.extend(names.first().map(ident));
        }
        let frame = frame.select(kept)?;
        let (state, _) = frame.clone().into_parts();
        let mut batches = self.ctx.session().stream(frame).await?;
        let mut found: Vec<Vec<Sample>> = of.iter().map(|_| Vec::new()).collect();
        let most = self.most();
        while let Some(batch) = batches.next().await.transpose()? {
            self.ctx.check()?;
            let schema = batch.schema();
            if self.compiled.as_ref().is_none_or(|(known, _)| *known != schema) {
                let columns = DFSchema::try_from(schema.as_ref().clone())?;
                let is_whole = |read: &Read<'_>| {
                    let mut columns_of = read.expressions().flat_map(Expr::column_refs);
                    columns_of.all(|column| schema.field_with_name(&column.name).is_ok())
                };
                let one = |read: &Read<'_>| match is_whole(read) {
                    true => read.compiled(&state, &columns).map(Some),
                    false => Ok(None),
                };
                let compiled = self.rules.iter().map(one).collect::<Result<_>>()?;
                self.compiled = Some((schema, compiled));
            }
            let Some((_, compiled)) = &self.compiled else { continue };
            for (at, samples) in of.iter().zip(&mut found) {
                let rule = compiled.get(*at).and_then(Option::as_ref).ok_or_else(|| {
                    let dataset = self.dataset;
                    let says =
                        format!("{NAME}: columns of {dataset} went while it was read; try again");
                    Error::user(Code::StorageUnavailable, says)
                })?;
                // Rows that one rule can't be computed of must not hold up the others.
                let before = samples.len();
                if let (Err(error), Some(read)) =
                    (rule.samples(&batch, at_us, samples), self.rules.get(*at))
                {
                    samples.truncate(before);
                    let says = format!("alert {}: {error}", read.rule.name);
                    self.failed.entry(*at).or_insert(says);
                }
            }
            if found.iter().map(Vec::len).sum::<usize>() > most {
                let says = format!(
                    "{NAME}: a commit has more than {most} rows that rules look at, which is what the memory budget holds; expected a \
                     narrower `where`, or a larger budget"
                );
                return Err(Error::user(Code::ResourcesExhausted, says));
            }
        }
        Ok(found)
    }
}
