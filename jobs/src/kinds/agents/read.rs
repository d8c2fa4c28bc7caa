//! Rows of a dataset as trials.

use analysis::trial::Tried;
use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::{cast, ident, lit, try_cast};
use datafusion::prelude::DataFrame;
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result, Session};
use futures::StreamExt;
use hashbrown::HashMap;

use super::NAME;
use super::params::{Better, Params, USUAL};
use crate::parameters::bad;
use crate::run::context::RunContext;
use crate::run::stage::Stage;
use crate::tables::columns::{texts, type_name};
use crate::tables::input::{InputTable, NAMES, is_name};

/// Memory of a trial beside its measures, and of a task beside its name and measures.
const TRIAL_BYTES: usize = 8;
const TASK_BYTES: usize = 40;
/// Kinds of tasks, and agents, at most.
const KINDS_MAX: usize = 1_000;
const AGENTS_MAX: usize = 10_000;
/// Bytes of a name, at most.
const NAME_MAX: usize = 500;
/// The largest value of a measure that is one: sums of many have room.
const VALUE_MAX: f64 = 1e100;
/// Part of the run's memory that trials may take.
const SHARE: usize = 3;
/// The kind of all tasks together, and what a kind is called that is called so.
pub(super) const ALL: &str = "*";
const NAMED_ALL: &str = "'*'";

/// Values of one kind, task by task.
#[derive(Debug, Default)]
pub(super) struct Values {
    all: Vec<f64>,
    /// Behind the last one of each task.
    ends: Vec<usize>,
}

impl Values {
    /// Those of all trials, in the order of their tasks.
    pub(super) fn all(&self) -> &[f64] {
        &self.all
    }

    /// Those of a task's trials.
    pub(super) fn of(&self, task: usize) -> &[f64] {
        let begin = task.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(task).copied().unwrap_or(self.all.len());
        self.all.get(begin.copied().unwrap_or(0)..end).unwrap_or_default()
    }

    /// Those of each task.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &[f64]> + Clone {
        (0..self.ends.len()).map(|task| self.of(task))
    }

    /// The mean of each task of which there are some.
    pub(super) fn means(&self) -> impl Iterator<Item = f64> {
        self.tasks().filter(|of| !of.is_empty()).map(|of| of.iter().sum::<f64>() / of.len() as f64)
    }
}

/// What an agent did of a kind of tasks.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// The tasks, in order, where they have names.
    names: Vec<String>,
    /// Successes as 1 and 0, and what else is measured.
    pub(super) values: Vec<Values>,
}

impl Done {
    /// Trials of each task, and successes.
    pub(super) fn tried(&self) -> impl Iterator<Item = Tried> + Clone {
        let successes = self.values.first();
        let tasks = successes.map_or(0, |of| of.ends.len());
        (0..tasks).filter_map(move |task| {
            let of = successes?.of(task);
            let successes = of.iter().filter(|of| **of > 0.0).count() as u64;
            Some(Tried { trials: of.len() as u64, successes })
        })
    }

    /// The places of the tasks that both tried.
    pub(super) fn both(&self, other: &Self) -> Vec<(usize, usize)> {
        let mut both = Vec::new();
        let (mut at, mut beside) = (0, 0);
        while let (Some(own), Some(of)) = (self.names.get(at), other.names.get(beside)) {
            let order = own.cmp(of);
            if order.is_eq() {
                both.push((at, beside));
            }
            at += usize::from(order.is_le());
            beside += usize::from(order.is_ge());
        }
        both
    }
}

/// An agent, and its version.
pub(super) type Agent = (String, Option<String>);

/// What was read.
#[derive(Default)]
pub(super) struct Trials {
    pub(super) agents: Vec<Agent>,
    pub(super) kinds: Vec<String>,
    /// By agent and kind.
    pub(super) done: HashMap<(usize, usize), Done>,
    pub(super) count: u64,
    pub(super) succeeded: u64,
    /// Rows that name no agent, or no task where tasks have names, or do not say how it went, or with a name that is too long.
    pub(super) left_out: u64,
}

/// What is asked, with the measures that there are where none are named.
pub(super) async fn asked(session: &Session, mut params: Params) -> Result<Params> {
    if params.measures.is_none() {
        let table = InputTable::open(session, NAME, &params.dataset).await?;
        let has = |name: &str| {
            let fields = table.frame.schema().fields().iter();
            fields.filter(|field| field.name() == name).any(|field| field.data_type().is_numeric())
        };
        let usual = USUAL.into_iter().filter(|name| has(name));
        params.measures = Some(usual.map(|name| (name.to_owned(), Better::Lower)).collect());
    }
    Ok(params)
}

/// Checks what is asked against the columns of the dataset.
pub(super) async fn check<'a>(session: &Session, params: &'a Params) -> Result<InputTable<'a>> {
    let table = InputTable::open(session, NAME, &params.dataset).await?;
    for (parameter, column) in [
        ("agent_column", Some(&params.agent_column)),
        ("version_column", params.version_column.as_ref()),
        ("task_column", params.task_column.as_ref()),
        ("kind_column", params.kind_column.as_ref()),
    ] {
        if let Some(column) = column {
            table.check(parameter, column, NAMES, is_name)?;
        }
    }
    table.check_condition(session, "success", Some(&params.success)).await?;
    table.check_condition(session, "where", params.condition.as_deref()).await?;
    for measure in params.measured().keys() {
        let read = session.safe_expression(&params.dataset, measure).await;
        let read = read.map_err(|error| bad(NAME, "measures", format!("{measure:?}: {error}")))?;
        let found = table.frame.clone().select(vec![read.alias("measure")])?;
        let found = found.schema().field(0).data_type().clone();
        if !found.is_numeric() && found != DataType::Boolean {
            let says = format!(
                "{measure:?}: expected a number or a truth value, found {}",
                type_name(&found)
            );
            return Err(bad(NAME, "measures", says));
        }
    }
    Ok(table)
}

async fn frame(ctx: &RunContext, params: &Params) -> Result<DataFrame> {
    let session = ctx.session();
    let table = check(session, params).await?;
    let frame = table.only_where(ctx, params.condition.as_deref()).await?;
    // What says nothing is one, however it is written, before rows are put in order.
    let text = |column: Option<&String>| match column {
        Some(column) => nullif(cast(ident(column), DataType::Utf8), lit("")),
        None => lit(ScalarValue::Utf8(None)),
    };
    let mut wanted = vec![
        text(Some(&params.agent_column)).alias("agent"),
        text(params.version_column.as_ref()).alias("version"),
        text(params.task_column.as_ref()).alias("task"),
        text(params.kind_column.as_ref()).alias("kind"),
        table.condition(ctx, &params.success).await?.alias("success"),
    ];
    for (at, measure) in params.measured().keys().enumerate() {
        let value = session.safe_expression(&params.dataset, measure).await?;
        let value = session.or_null(value, frame.schema(), ctx.uncomputed())?;
        wanted.push(try_cast(value, DataType::Float64).alias(format!("measure_{at}")));
    }
    // In an order of their own: sums and shuffles must not depend on who came first.
    let measures = (0..params.measured().len()).map(|at| format!("measure_{at}"));
    let order = ["agent", "version", "kind", "task", "success"].map(str::to_owned);
    let order = order.into_iter().chain(measures).map(|name| ident(name).sort(true, false));
    Ok(frame.select(wanted)?.sort(order.collect())?)
}

/// Reads all of it.
pub(super) async fn read(ctx: &RunContext, params: &Params, stage: &mut Stage) -> Result<Trials> {
    let mut rows = ctx.session().stream(frame(ctx, params).await?).await?;
    let mut reading =
        Reading { params, trials: Trials::default(), kinds: HashMap::new(), bytes: 0 };
    let bytes_max = ctx.memory_budget_bytes() / SHARE;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        stage.record.rows_in += batch.num_rows() as u64;
        stage.record.bytes_read += batch.get_array_memory_size() as u64;
        reading.add(&batch)?;
        if reading.bytes > bytes_max {
            let says = format!(
                "{NAME}: expected trials that fit in {bytes_max} bytes; take a narrower `where`, fewer `measures`, or a larger budget"
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
    }
    stage.record.rows_out = reading.trials.count;
    Ok(reading.trials)
}

struct Reading<'a> {
    params: &'a Params,
    trials: Trials,
    kinds: HashMap<String, usize>,
    bytes: usize,
}

impl Reading<'_> {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let broken = || Error::internal(format!("{NAME}: other columns than were asked for"));
        let [agents, versions, tasks, kinds] =
            [texts(batch, 0)?, texts(batch, 1)?, texts(batch, 2)?, texts(batch, 3)?];
        let success = batch.column(4).as_boolean_opt().ok_or_else(broken)?;
        let measures =
            batch.columns().iter().skip(5).map(|of| of.as_primitive_opt::<Float64Type>());
        let measures = measures.collect::<Option<Vec<_>>>().ok_or_else(broken)?;
        for row in 0..batch.num_rows() {
            let agent = name(&agents, row);
            let task = name(&tasks, row);
            let has_task = self.params.task_column.is_none() || task.is_some();
            let of_all = [&agents, &versions, &tasks, &kinds];
            let is_short =
                of_all.iter().all(|of| name(of, row).is_none_or(|of| of.len() <= NAME_MAX));
            let is_whole = has_task && is_short && success.is_valid(row);
            let (Some(agent), true) = (agent, is_whole) else {
                self.trials.left_out += 1;
                continue;
            };
            let agent = self.agent(agent, name(&versions, row))?;
            let kind = self.kind(match name(&kinds, row) {
                Some(ALL) => NAMED_ALL,
                kind => kind.unwrap_or_default(),
            })?;
            let values = measures.iter().map(|of| of.is_valid(row).then(|| of.value(row)));
            let values = values.map(|of| of.filter(|value| value.abs() <= VALUE_MAX));
            self.trials.succeeded += u64::from(success.value(row));
            let success = f64::from(u8::from(success.value(row)));
            self.trial((agent, kind), task, std::iter::once(Some(success)).chain(values));
        }
        Ok(())
    }

    /// Its number; rows of one come together.
    fn agent(&mut self, name: &str, version: Option<&str>) -> Result<usize> {
        let is_it = |(own, own_version): &Agent| own == name && own_version.as_deref() == version;
        let count = self.trials.agents.len();
        if self.trials.agents.last().is_some_and(is_it) {
            return Ok(count - 1);
        }
        if count >= AGENTS_MAX {
            let says =
                format!("{NAME}: expected at most {AGENTS_MAX} agents and versions, found more");
            return Err(Error::user(Code::LimitExceeded, says));
        }
        self.trials.agents.push((name.to_owned(), version.map(str::to_owned)));
        Ok(count)
    }

    fn kind(&mut self, kind: &str) -> Result<usize> {
        if let Some(known) = self.kinds.get(kind) {
            return Ok(*known);
        }
        if self.trials.kinds.len() >= KINDS_MAX {
            let says = format!("{NAME}: expected at most {KINDS_MAX} kinds of tasks, found more");
            return Err(Error::user(Code::LimitExceeded, says));
        }
        let number = self.trials.kinds.len();
        self.trials.kinds.push(kind.to_owned());
        self.kinds.insert(kind.to_owned(), number);
        Ok(number)
    }

    fn trial(
        &mut self,
        place: (usize, usize),
        task: Option<&str>,
        values: impl Iterator<Item = Option<f64>>,
    ) {
        let count = self.params.measured().len() + 1;
        self.trials.count += 1;
        let done = self.trials.done.entry(place).or_default();
        done.values.resize_with(count, Values::default);
        let is_known = task.is_some_and(|task| done.names.last().is_some_and(|last| last == task));
        if !is_known {
            done.names.extend(task.map(str::to_owned));
            done.values.iter_mut().for_each(|of| of.ends.push(of.all.len()));
            self.bytes += TASK_BYTES + 8 * count + task.map_or(0, str::len);
        }
        for (value, of) in values.zip(&mut done.values) {
            of.all.extend(value);
            if let Some(end) = of.ends.last_mut() {
                *end = of.all.len();
            }
        }
        self.bytes += TRIAL_BYTES * count;
    }
}

fn name(of: &StringArray, row: usize) -> Option<&str> {
    of.is_valid(row).then(|| of.value(row))
}

/// Trials that no dataset has.
#[cfg(test)]
pub(super) mod tests_of {
    use super::{Trials, Values};

    /// One of an agent, of whom those before are known, and of its last task or the next one, with one measure.
    pub(crate) fn push(trials: &mut Trials, agent: usize, task: &str, success: bool, value: f64) {
        if trials.agents.len() <= agent {
            trials.agents.push((format!("agent {agent}"), None));
        }
        if trials.kinds.is_empty() {
            trials.kinds.push(String::new());
        }
        let done = trials.done.entry((agent, 0)).or_default();
        done.values.resize_with(2, Values::default);
        if done.names.last().is_none_or(|last| last != task) {
            done.names.push(task.to_owned());
            done.values.iter_mut().for_each(|of| of.ends.push(of.all.len()));
        }
        for (of, value) in done.values.iter_mut().zip([f64::from(success), value]) {
            of.all.push(value);
            of.ends.pop();
            of.ends.push(of.all.len());
        }
    }
}
