//! What rules say of the rows of commits: each rule as expressions over the rows that a version added.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
use engine::{Code, CommitRecord, Error, Result, Session, Version, evaluate_or_null};
use futures::StreamExt;
use futures::future::join_all;
use parking_lot::Mutex;

use super::NAME;
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::series::microseconds;
use crate::tables::input::{INSTANTS, InputTable, NAMES, is_name};

/// Rows that a new rule looks back on, the newest where it knows which they are.
const FIRST_ROWS_MAX: usize = 1_000_000;
/// Memory of a sample: its group, and as much again while it is sorted.
const SAMPLE_BYTES: usize = 256;

/// Rows that a new rule is tried out on.
const TRIED_ROWS: usize = 1_000;

/// Commits that are opened together.
const TOGETHER: usize = 4;

/// Datasets whose rules are kept as they were read.
const KNOWN_MAX: usize = 32;

/// A rule as expressions of its dataset's columns.
pub(super) struct Read {
    name: String,
    time: Option<String>,
    only: Option<Expr>,
    holds: Option<Expr>,
    value: Option<Expr>,
    at: Option<Expr>,
    by: Vec<Expr>,
}

/// The columns of some rows that rules need.
fn needed_of<'a>(frame: DataFrame, rules: impl IntoIterator<Item = &'a Read>) -> Result<DataFrame> {
    let needed: BTreeSet<String> = rules
        .into_iter()
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
    Ok(frame.select(kept)?)
}

/// The same, ready for rows of one schema.
struct Compiled {
    only: Option<Arc<dyn PhysicalExpr>>,
    holds: Option<Arc<dyn PhysicalExpr>>,
    value: Option<Arc<dyn PhysicalExpr>>,
    at: Option<Arc<dyn PhysicalExpr>>,
    by: Vec<Arc<dyn PhysicalExpr>>,
}

impl Read {
    /// Reads a rule. BAD_INPUT names the rule and the field.
    pub(super) async fn of(
        session: &Session,
        table: &InputTable<'_>,
        dataset: &DatasetName,
        rule: &Rule,
    ) -> Result<Self> {
        let wrong = |field: &str, error: Error| {
            bad(NAME, "rules", format!("alert {}: {field}: {error}", rule.name))
        };
        let condition = async |field: &str, text: &Option<String>| match text {
            Some(text) => {
                session.safe_condition(dataset, text).await.map(Some).map_err(|e| wrong(field, e))
            }
            None => Ok(None),
        };
        for column in &rule.by {
            table.check("by", column, NAMES, is_name).map_err(|e| wrong("by", e))?;
        }
        let at = match &rule.time {
            Some(column) => {
                let fits = |t: &DataType| t.is_temporal();
                let checked = table.check("time", column, INSTANTS, fits);
                checked.map_err(|e| wrong("time", e))?;
                Some(cast_to(ident(column), microseconds()))
            }
            None => None,
        };
        let value = match &rule.value {
            Some(text) => {
                let value =
                    session.safe_expression(dataset, text).await.map_err(|e| wrong("value", e))?;
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
            name: rule.name.clone(),
            time: rule.time.clone(),
            only: condition("where", &rule.only).await?,
            holds: condition("condition", &rule.condition).await?,
            value,
            at,
            by: rule.by.iter().map(|column| cast_to(ident(column), DataType::Utf8)).collect(),
        })
    }

    /// BAD_INPUT where it can be computed of none of some rows that are there: whoever defines it should hear of that.
    pub(super) async fn try_out(&self, session: &Session, frame: DataFrame) -> Result<()> {
        let frame = needed_of(frame, [self])?.limit(0, Some(TRIED_ROWS))?;
        let (state, _) = frame.clone().into_parts();
        let (mut samples, mut failed) = (Vec::new(), Failed::default());
        for batch in session.collect(frame).await? {
            let columns = DFSchema::try_from(batch.schema().as_ref().clone())?;
            self.compiled(&state, &columns)?.samples(&batch, 0, &mut samples, &mut failed)?;
        }
        match samples.is_empty() && failed.rows > 0 {
            true => {
                let (name, rows) = (&self.name, failed.in_words());
                let says = format!("alert {name}: {rows}, of none it can: {}", failed.because);
                Err(bad(NAME, "rules", says))
            }
            false => Ok(()),
        }
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
    /// What the rule says of the rows of a batch. `at_us` is the instant of those of a rule without a column of time. Of a row that `where`
    /// or the condition can't be computed of it says nothing, and one without a value has none.
    fn samples(
        &self,
        batch: &RecordBatch,
        at_us: i64,
        samples: &mut Vec<Sample>,
        failed: &mut Failed,
    ) -> Result<()> {
        // Of rows that are left out nothing else is computed, which might fail.
        let only = match &self.only {
            Some(only) => {
                let mut silent = BTreeSet::new();
                let only = failed.values(only, batch, &mut silent)?;
                failed.rows += silent.len() as u64;
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
        let (mut without, mut silent) = (BTreeSet::new(), BTreeSet::new());
        let mut some = |expr: &Option<Arc<dyn PhysicalExpr>>, rows: &mut BTreeSet<usize>| {
            expr.as_ref().map(|expr| failed.values(expr, batch, rows)).transpose()
        };
        let holds = some(&self.holds, &mut silent)?;
        let holds = holds.as_ref().and_then(|holds| holds.as_boolean_opt());
        let at = some(&self.at, &mut without)?;
        let at = at.as_ref().and_then(|at| at.as_primitive_opt::<TimestampMicrosecondType>());
        let value = some(&self.value, &mut without)?;
        failed.rows += silent.union(&without).count() as u64;
        let value = value.map(|value| cast(&value, &DataType::Float64)).transpose()?;
        let value = value.as_ref().and_then(|value| value.as_primitive_opt::<Float64Type>());
        let texts = |expr: &Arc<dyn PhysicalExpr>| {
            let texts = expr.evaluate(batch)?.into_array(rows)?;
            Ok(cast(&texts, &DataType::Utf8)?.as_string::<i32>().clone())
        };
        let by = self.by.iter().map(texts).collect::<Result<Vec<_>>>()?;
        let is_true = |array: &BooleanArray, row| array.is_valid(row) && array.value(row);
        for row in 0..rows {
            // A row without an instant says nothing of any time.
            let is_timeless = self.at.is_some() && at.is_none_or(|at| !at.is_valid(row));
            if is_timeless || silent.contains(&row) {
                continue;
            }
            samples.push(Sample {
                group: by
                    .iter()
                    .map(|by| by.is_valid(row).then(|| by.value(row).to_owned()))
                    .collect(),
                at_us: at.map_or(at_us, |at| at.value(row)),
                holds: holds.is_some_and(|holds| is_true(holds, row)),
                value: value.and_then(|value| value.is_valid(row).then(|| value.value(row))),
            });
        }
        Ok(())
    }
}

/// Rows that a rule can't be computed of.
#[derive(Default)]
struct Failed {
    rows: u64,
    /// Why not of the first.
    because: String,
}

impl Failed {
    fn in_words(&self) -> String {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        format!("it can't be computed of {} {rows}", self.rows)
    }

    /// The values of `expr`, null of the rows that it can't be computed of, which go to `rows`.
    fn values(
        &mut self,
        expr: &Arc<dyn PhysicalExpr>,
        batch: &RecordBatch,
        rows: &mut BTreeSet<usize>,
    ) -> Result<ArrayRef> {
        evaluate_or_null(expr.as_ref(), batch, &mut |row, error| {
            rows.insert(row);
            if self.because.is_empty() {
                self.because = error.to_string();
            }
        })
    }
}

/// Rules of a dataset, read.
struct Fitting {
    dataset: DatasetName,
    /// The columns and rules that they were read of.
    schema: SchemaRef,
    rules: Vec<Rule>,
    read: Vec<Read>,
    compiled: Mutex<Option<Compilation>>,
}

/// All of them, ready for rows of a schema; none in the place of one whose columns are not there.
type Compilation = (SchemaRef, Arc<Vec<Option<Compiled>>>);

/// Rules as they were read before, of the datasets that were looked at last: to read two hundred takes longer than most commits do.
pub(super) struct Known(Mutex<VecDeque<Arc<Fitting>>>);

impl Known {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(VecDeque::new()))
    }

    fn of(
        &self,
        dataset: &DatasetName,
        schema: &SchemaRef,
        rules: &[Rule],
    ) -> Option<Arc<Fitting>> {
        let mut known = self.0.lock();
        let same = |one: &Arc<Fitting>| {
            one.dataset == *dataset && one.schema == *schema && one.rules == *rules
        };
        let found = known.iter().position(same).and_then(|at| known.remove(at))?;
        known.push_front(Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, fitting: &Arc<Fitting>) {
        let mut known = self.0.lock();
        known.retain(|one| {
            one.dataset != fitting.dataset
                || one.schema != fitting.schema
                || one.rules != fitting.rules
        });
        known.push_front(Arc::clone(fitting));
        known.truncate(KNOWN_MAX);
    }
}

/// Whether what a rule says may be of the present, which is read anew each time.
fn is_of_now(rule: &Rule) -> bool {
    let texts = [&rule.only, &rule.condition, &rule.value].into_iter().flatten();
    let mut texts = texts.map(|text| text.to_ascii_lowercase());
    texts.any(|text| ["now", "current", "today"].iter().any(|word| text.contains(word)))
}

impl Fitting {
    /// Ready for rows of `schema`.
    fn compiled(
        &self,
        state: &SessionState,
        schema: &SchemaRef,
    ) -> Result<Arc<Vec<Option<Compiled>>>> {
        let mut known = self.compiled.lock();
        if let Some((_, compiled)) = known.as_ref().filter(|(of, _)| of == schema) {
            return Ok(Arc::clone(compiled));
        }
        let columns = DFSchema::try_from(schema.as_ref().clone())?;
        let is_whole = |read: &Read| {
            let mut columns_of = read.expressions().flat_map(Expr::column_refs);
            columns_of.all(|column| schema.field_with_name(&column.name).is_ok())
        };
        let one = |read: &Read| match is_whole(read) {
            true => read.compiled(state, &columns).map(Some),
            false => Ok(None),
        };
        let compiled = Arc::new(self.read.iter().map(one).collect::<Result<Vec<_>>>()?);
        *known = Some((Arc::clone(schema), Arc::clone(&compiled)));
        Ok(compiled)
    }
}

/// Rules of one dataset, and what they need of its rows.
pub(super) struct Reader<'a> {
    ctx: &'a RunContext,
    dataset: &'a DatasetName,
    rules: Vec<&'a Rule>,
    fitting: Arc<Fitting>,
    /// Rules that could not be computed of some rows.
    failed: BTreeMap<usize, Failed>,
}

/// Rows of versions that were opened, in order; none of one whose files are gone.
pub(super) type Opened = VecDeque<Result<Option<DataFrame>>>;

/// The rows that a version added; none where its files are gone.
async fn opened(
    ctx: &RunContext,
    dataset: &DatasetName,
    made: &CommitRecord,
) -> Result<Option<DataFrame>> {
    let before = Version(made.version.0.saturating_sub(1));
    match ctx.engine().changes(ctx.principal(), dataset, before, made.version).await {
        Ok(changes) => Ok(Some(changes.added)),
        Err(error) if error.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl<'a> Reader<'a> {
    /// Also says which rules do not fit the dataset as it is by now: the others go on.
    pub(super) async fn new(
        ctx: &'a RunContext,
        known: &Known,
        dataset: &'a DatasetName,
        rules: &'a [Rule],
    ) -> Result<(Self, Vec<Error>)> {
        let table = InputTable::open(ctx.session(), NAME, dataset).await?;
        let schema = Arc::clone(table.frame.schema().inner());
        let reader =
            |rules, fitting| Self { ctx, dataset, rules, fitting, failed: BTreeMap::new() };
        if let Some(fitting) = known.of(dataset, &schema, rules) {
            return Ok((reader(rules.iter().collect(), fitting), Vec::new()));
        }
        let (mut fit, mut read, mut unfit) = (Vec::new(), Vec::new(), Vec::new());
        for rule in rules {
            match Read::of(ctx.session(), &table, dataset, rule).await {
                Ok(one) => {
                    fit.push(rule);
                    read.push(one);
                }
                Err(error) if error.code() == Code::BadInput => unfit.push(error),
                Err(error) => return Err(error),
            }
        }
        let fitting = Arc::new(Fitting {
            dataset: dataset.clone(),
            schema,
            rules: rules.to_vec(),
            read,
            compiled: Mutex::default(),
        });
        if unfit.is_empty() && !rules.iter().any(is_of_now) {
            known.keep(&fitting);
        }
        Ok((reader(fit, fitting), unfit))
    }

    /// Those that fit.
    pub(super) fn rules(&self) -> Vec<&'a Rule> {
        self.rules.clone()
    }

    /// Rules that can't be computed of some of the rows that were read, in words.
    pub(super) fn failed(&self) -> impl Iterator<Item = String> {
        self.failed.iter().filter_map(|(at, failed)| {
            let name = &self.fitting.read.get(*at)?.name;
            let says = format!("alert {name}: {}: {}", failed.in_words(), failed.because);
            (failed.rows > 0).then_some(says)
        })
    }

    /// The rows that the first of some versions added, opened together; each to its end, as one that waits keeps others waiting.
    pub(super) async fn added(&self, made: impl IntoIterator<Item = &CommitRecord>) -> Opened {
        let some = made.into_iter().take(TOGETHER);
        join_all(some.map(|made| opened(self.ctx, self.dataset, made))).await.into()
    }

    /// What a version added, as some of the rules see it, and for how many of them it was too much.
    pub(super) async fn commit(
        &mut self,
        of: &[usize],
        made: &CommitRecord,
        added: DataFrame,
    ) -> Result<(Vec<Commit>, u64)> {
        let (version, at_us) = (made.version.0, made.at.timestamp_micros());
        let mut left_out = 0;
        let found = match self.samples(added.clone(), of, at_us).await {
            Err(error) if error.code() == Code::ResourcesExhausted => {
                let mut found = Vec::with_capacity(of.len());
                for &at in of {
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
        Ok((commits.collect(), left_out))
    }

    /// The same as one rule sees it.
    pub(super) async fn one(&mut self, at: usize, made: &CommitRecord) -> Result<Commit> {
        let (version, at_us) = (made.version.0, made.at.timestamp_micros());
        let mut found = match opened(self.ctx, self.dataset, made).await? {
            Some(added) => self.samples(added, &[at], at_us).await?,
            None => Vec::new(),
        };
        Ok(Commit { version, at_us, rows: found.pop().unwrap_or_default() })
    }

    /// All that is there, as one commit of a rule that never looked before: the newest rows, where it knows which they are.
    pub(super) async fn all(&mut self, at: usize, version: Version, at_us: i64) -> Result<Commit> {
        let mut frame = self.ctx.present().await?.table(self.dataset).await?;
        if let Some(read) = self.fitting.read.get(at) {
            if let Some(only) = &read.only {
                let (session, uncomputed) = (self.ctx.session(), self.ctx.uncomputed());
                frame = frame.clone().filter(session.or_null(
                    only.clone(),
                    frame.schema(),
                    uncomputed,
                )?)?;
            }
            if let Some(time) = &read.time {
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
        let rules = of.iter().filter_map(|at| self.fitting.read.get(*at));
        let frame = needed_of(frame, rules)?;
        let (state, _) = frame.clone().into_parts();
        let mut batches = self.ctx.session().stream(frame).await?;
        let mut found: Vec<Vec<Sample>> = of.iter().map(|_| Vec::new()).collect();
        let most = self.most();
        while let Some(batch) = batches.next().await.transpose()? {
            self.ctx.check()?;
            let compiled = self.fitting.compiled(&state, &batch.schema())?;
            for (at, samples) in of.iter().zip(&mut found) {
                let rule = compiled.get(*at).and_then(Option::as_ref).ok_or_else(|| {
                    let dataset = self.dataset;
                    let says =
                        format!("{NAME}: columns of {dataset} went while it was read; try again");
                    Error::user(Code::StorageUnavailable, says)
                })?;
                rule.samples(&batch, at_us, samples, self.failed.entry(*at).or_default())?;
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use serde_json::{Value, json};

    use super::*;
    use crate::parameters::dataset_name;

    fn rule(field: &str, text: &str) -> Rule {
        let mut fields = json!({ "name": "r", "dataset": "load", "condition": "load > 5" });
        fields[field] = Value::from(text);
        serde_json::from_value(fields).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[test]
    fn what_is_said_of_the_present_is_read_each_time() {
        for (field, text) in [
            ("condition", "at > NOW() - interval '1h'"),
            ("where", "day = current_date"),
            ("value", "extract(epoch FROM today() - at)"),
        ] {
            assert!(is_of_now(&rule(field, text)), "{text}");
        }
        assert!(!is_of_now(&rule("where", "host = 'a'")));
    }

    #[test]
    fn rules_are_known_of_the_same_dataset_columns_and_words_alone() {
        let (known, load) = (Known::new(), dataset_name("load"));
        let schema = |kind| Arc::new(Schema::new(vec![Field::new("load", kind, true)]));
        let (float, text) = (schema(DataType::Float64), schema(DataType::Utf8));
        let fitting = |rules: Vec<Rule>| {
            let (dataset, schema) = (load.clone(), Arc::clone(&float));
            Arc::new(Fitting {
                dataset,
                schema,
                rules,
                read: Vec::new(),
                compiled: Mutex::default(),
            })
        };
        let rules = [rule("where", "host = 'a'")];
        known.keep(&fitting(rules.to_vec()));
        assert!(known.of(&load, &float, &rules).is_some());
        assert!(known.of(&load, &text, &rules).is_none());
        assert!(known.of(&dataset_name("other"), &float, &rules).is_none());
        assert!(known.of(&load, &float, &[rule("where", "host = 'b'")]).is_none());
        assert!(known.of(&load, &float, &[]).is_none());
        // The oldest go.
        for number in 0..KNOWN_MAX {
            known.keep(&fitting(vec![rule("where", &format!("host = '{number}'"))]));
        }
        assert!(known.of(&load, &float, &rules).is_none());
        assert!(known.of(&load, &float, &[rule("where", "host = '0'")]).is_some());
    }
}
