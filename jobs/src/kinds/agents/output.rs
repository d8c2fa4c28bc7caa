//! The rows that `agents` commits.

use analysis::trial::{Rate, Tried, mean, mean_of_trials, pass_all, quantile_interval, rate};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;
use serde_json::json;

use super::compare::{Comparison, Of};
use super::params::{Params, SUCCESS};
use super::read::{ALL, Agent, Done, Trials};
use crate::tables::columns::{column, float, of_sources, source, text, version, whole};
use crate::tables::rows::{Rows, Table};

fn who() -> [ColumnSpec; 3] {
    [
        text("agent", "Who did it"),
        text("agent_version", "Its version; empty where versions are not told apart"),
        text("kind", "The kind of tasks; \"*\" of all together"),
    ]
}

pub(super) fn spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source()];
    columns.extend(who());
    columns.extend([
        whole("tasks", "Tasks"),
        whole("trials", "How often they were tried"),
        whole("successes", "Trials that succeeded"),
        float("success_rate", "Part of the trials that succeeded, 0 to 1"),
        float("success_lower", "Where the rate behind it lies with a confidence of 95 %"),
        float("success_upper", "The upper end"),
        column(
            "all_succeed",
            ColumnType::Json,
            false,
            "The chance that all of 1, 2, … trials of a task succeed (pass^k), as far as tasks were tried so often",
        ),
        column(
            "all_succeed_lower",
            ColumnType::Json,
            false,
            "Where each of these chances lies with a confidence of 95 %: the lower ends",
        ),
        column("all_succeed_upper", ColumnType::Json, false, "The upper ends"),
        version(),
    ]);
    let key = ["source", "agent", "agent_version", "kind"];
    of_sources(params.output.clone(), "How often agents succeed", key, None, columns)
}

pub(super) fn measures_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source()];
    columns.extend(who());
    columns.extend([
        text("measure", "What is measured"),
        whole("trials", "Trials of which it is known"),
        float("mean", "The mean of the trials"),
        float(
            "mean_lower",
            "Where that behind it lies with a confidence of 95 %; none of one task",
        ),
        float("mean_upper", "The upper end"),
        float("task_mean", "The mean of the tasks' own means"),
        float("task_mean_lower", "Where that behind it lies with a confidence of 95 %"),
        float("task_mean_upper", "The upper end"),
        float("median", "The median of the trials"),
        float(
            "median_lower",
            "Where that behind it lies with a confidence of 95 %; none of too few tasks",
        ),
        float("median_upper", "The upper end"),
        float("p95", "Their 95th percentile"),
        float("p95_lower", "Where that behind it lies with a confidence of 95 %"),
        float("p95_upper", "The upper end; none of fewer than 72 tasks"),
        version(),
    ]);
    let key = ["source", "agent", "agent_version", "kind", "measure"];
    of_sources(params.measures_output.clone(), "What agents' trials take", key, None, columns)
}

pub(super) fn comparisons_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("measure", "What is compared: success, or a measure"),
        text("agent_a", "The one"),
        text("version_a", "Its version; empty where versions are not told apart"),
        text("agent_b", "The other one"),
        text("version_b", "Its version; empty where versions are not told apart"),
        text("way", "paired: task by task; apart: tasks of one kind"),
        whole("tasks_a", "Tasks of the one that were compared"),
        whole("tasks_b", "Tasks of the other one"),
        float("difference", "By how much the other one is above the one, on the mean of the tasks"),
        float(
            "lower",
            "Where that lies with a confidence of 95 %, alone; none where nothing spreads",
        ),
        float("upper", "The upper end"),
        float("p_value", "How often chance alone sets two so far apart"),
        float("p_adjusted", "The same for all comparisons of this run together"),
        float(
            "detectable",
            "The difference that would be found four times of five, alone and at 5 %",
        ),
        column(
            "better",
            ColumnType::Text,
            true,
            "Which one is better: a or b; none where that is not shown",
        ),
        version(),
    ];
    let key = ["source", "measure", "agent_a", "version_a", "agent_b", "version_b"];
    of_sources(params.comparisons_output.clone(), "Which agents are better", key, None, columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), measures_spec(params), comparisons_spec(params)]
}

/// An agent's tasks of a kind, or all of them.
struct Part<'a> {
    agent: &'a Agent,
    kind: &'a str,
    done: Vec<&'a Done>,
    rate: Option<Rate>,
}

impl<'a> Part<'a> {
    fn new(agent: &'a Agent, kind: &'a str, done: Vec<&'a Done>) -> Self {
        let rate = rate(done.iter().flat_map(|done| done.tried()));
        Self { agent, kind, done, rate }
    }

    fn tried(&self) -> impl Iterator<Item = Tried> + Clone {
        self.done.iter().flat_map(|done| done.tried())
    }
}

/// The chances that all of 1, 2, … trials succeed, or ends of their intervals.
fn all_succeed(part: &Part<'_>, most: u64, end: fn(&Rate) -> f64) -> String {
    let chances = (1..=most).map_while(|k| pass_all(part.tried(), k));
    json!(chances.map(|rate| end(&rate)).collect::<Vec<f64>>()).to_string()
}

/// What a measure is of an agent's tasks.
struct Measured<'a> {
    part: &'a Part<'a>,
    measure: &'a str,
    trials: u64,
    mean: f64,
    mean_interval: Option<(f64, f64, f64)>,
    tasks: Option<(f64, f64, f64)>,
    task_mean: Option<f64>,
    median: Option<f64>,
    median_interval: [Option<f64>; 2],
    p95: Option<f64>,
    p95_interval: [Option<f64>; 2],
}

fn parts(trials: &Trials) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (number, agent) in trials.agents.iter().enumerate() {
        let of_kind = |kind: usize| trials.done.get(&(number, kind));
        let all: Vec<&Done> = (0..trials.kinds.len()).filter_map(of_kind).collect();
        parts.push(Part::new(agent, ALL, all));
        for (kind, name) in trials.kinds.iter().enumerate() {
            // Without kinds there is nothing to tell apart.
            if let Some(done) = of_kind(kind).filter(|_| trials.kinds.len() > 1 || !name.is_empty())
            {
                parts.push(Part::new(agent, name, vec![done]));
            }
        }
    }
    parts.sort_by(|a, b| a.agent.cmp(b.agent));
    parts
}

fn measured<'a>(part: &'a Part<'a>, number: usize, measure: &'a str) -> Option<Measured<'a>> {
    let of = || part.done.iter().filter_map(|done| done.values.get(number));
    let mut values: Vec<f64> = of().flat_map(|of| of.all()).copied().collect();
    let of_tasks: Vec<f64> = of().flat_map(|of| of.means()).collect();
    let mean_of = |of: &[f64]| (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64);
    let mean_of_all = mean_of(&values)?;
    values.sort_by(f64::total_cmp);
    Some(Measured {
        part,
        measure,
        trials: values.len() as u64,
        mean: mean_of_all,
        mean_interval: mean_of_trials(of().flat_map(|of| of.tasks())),
        tasks: mean(&of_tasks),
        task_mean: mean_of(&of_tasks),
        median: quantile(&values, 0.5),
        median_interval: quantile_interval(&values, 0.5, of_tasks.len() as u64),
        p95: quantile(&values, 0.95),
        p95_interval: quantile_interval(&values, 0.95, of_tasks.len() as u64),
    })
}

/// Between the neighbours of a place, as numpy does.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted.get(place as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

impl<T> Table<'_, T> {
    fn who(self, get: impl Fn(&T) -> (&Agent, &str)) -> Self {
        self.text(|of| get(of).0.0.clone())
            .text(|of| get(of).0.1.clone().unwrap_or_default())
            .text(|of| get(of).1.to_owned())
    }
}

fn finite(of: f64) -> Option<f64> {
    of.is_finite().then_some(of)
}

/// The least difference that there can be: rates are 0 to 1.
fn least(of: &Comparison) -> f64 {
    match of.of {
        Of::Success => -1.0,
        Of::Measure(_) => f64::NEG_INFINITY,
    }
}

/// The rows of all outputs.
pub(super) fn rows(
    params: &Params,
    version: i64,
    trials: &Trials,
    comparisons: &[Comparison],
) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let parts = parts(trials);
    let sum = |part: &Part<'_>, get: fn(Tried) -> u64| part.tried().map(get).sum::<u64>();
    let results = Table::new(&parts, source, version)
        .who(|part| (part.agent, part.kind))
        .whole(|part| part.tried().count() as u64)
        .whole(|part| sum(part, |of| of.trials))
        .whole(|part| sum(part, |of| of.successes))
        .float(|part| part.rate.map(|of| of.rate))
        .float(|part| part.rate.map(|of| of.lower))
        .float(|part| part.rate.map(|of| of.upper))
        .text(|part| all_succeed(part, params.k, |rate| rate.rate))
        .text(|part| all_succeed(part, params.k, |rate| rate.lower))
        .text(|part| all_succeed(part, params.k, |rate| rate.upper))
        .finish(spec(params))?;
    let names: Vec<&String> = params.measured().keys().collect();
    let of_parts = parts.iter().flat_map(|part| {
        let names = names.iter().enumerate();
        names.filter_map(move |(number, name)| measured(part, number + 1, name))
    });
    let of_parts: Vec<Measured<'_>> = of_parts.collect();
    let measures = Table::new(&of_parts, source, version)
        .who(|of| (of.part.agent, of.part.kind))
        .text(|of| of.measure.to_owned())
        .whole(|of| of.trials)
        .float(|of| Some(of.mean))
        .float(|of| of.mean_interval.map(|of| of.1))
        .float(|of| of.mean_interval.map(|of| of.2))
        .float(|of| of.task_mean)
        .float(|of| of.tasks.map(|tasks| tasks.1))
        .float(|of| of.tasks.map(|tasks| tasks.2))
        .float(|of| of.median)
        .float(|of| of.median_interval[0])
        .float(|of| of.median_interval[1])
        .float(|of| of.p95)
        .float(|of| of.p95_interval[0])
        .float(|of| of.p95_interval[1])
        .finish(measures_spec(params))?;
    let agent = |number: usize| trials.agents.get(number);
    let name = |number: usize| agent(number).map_or(String::new(), |of| of.0.clone());
    let version_of = |number: usize| agent(number).and_then(|of| of.1.clone()).unwrap_or_default();
    let compared = Table::new(comparisons, source, version)
        .text(|of| match of.of {
            Of::Success => SUCCESS.to_owned(),
            Of::Measure(number) => names.get(number).map_or(String::new(), |of| (*of).clone()),
        })
        .text(|of| name(of.a))
        .text(|of| version_of(of.a))
        .text(|of| name(of.b))
        .text(|of| version_of(of.b))
        .text(|of| if of.is_paired { "paired" } else { "apart" }.to_owned())
        .whole(|of| of.tasks[0])
        .whole(|of| of.tasks[1])
        .float(|of| Some(of.found.difference))
        .float(|of| finite(of.found.lower).map(|lower| lower.max(least(of))))
        .float(|of| finite(of.found.upper).map(|upper| upper.min(-least(of))))
        .float(|of| Some(of.found.p))
        .float(|of| Some(of.p_adjusted))
        .float(|of| finite(of.found.detectable))
        .some_text(|of| of.better.map(|it| if it == of.a { "a" } else { "b" }.to_owned()))
        .finish(comparisons_spec(params))?;
    Ok(vec![results, measures, compared])
}
