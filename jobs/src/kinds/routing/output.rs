//! The rows that `routing` commits.

use analysis::routing::{Interval, Level, Rule, Trials, Tried, Way};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;

use super::params::Params;
use super::read::Calls;
use crate::tables::columns::{
    column, float, of_sources, some_text, source, text, version, whole, with_unit,
};
use crate::tables::rows::{Rows, Table};

/// What the policy is called that changes nothing.
const AS_IT_WAS: &str = "as it was";

fn flag(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Bool, false, about)
}

fn policy() -> ColumnSpec {
    text("policy", "The policy; \"as it was\" is what was done")
}

fn spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        policy(),
        some_text(
            "level",
            "For which requests it takes one model: all, kind, length, or kind_and_length",
        ),
        float(
            "loss_allowed",
            "By how much of the quality its models may be worse in the requests that it was learned from, 0 to 1",
        ),
        whole("requests", "Later requests, on which it is tried"),
        whole("routed", "Those of them that it sends to a model of its own"),
        float("cost", "What one of them costs, on the average, in the unit of `cost`"),
        float("quality", "How good an answer is, on the average, 0 to 1"),
        float("saving", "Part of the cost that it saves"),
        float("saving_lower", "Where that lies with a confidence of 95 %"),
        float("saving_upper", "The upper end"),
        float("loss", "By how much of the quality answers are worse"),
        float("loss_lower", "Where that lies with a confidence of 95 %"),
        float("loss_upper", "The upper end"),
        float(
            "learned_saving",
            "Part of the cost that it saved of the earlier requests, from which it was learned",
        ),
        flag(
            "on_frontier",
            "Whether no other one costs less and is as good, or is better and costs no more",
        ),
        flag(
            "sure",
            "Whether it saves and loses what is asked, as sure as is asked of all policies together",
        ),
        flag("recommended", "Whether it is the one of these that saved most"),
        float(
            "confidence",
            "How sure that is: how often at least, of such runs, no policy is called sure that saves less or loses more",
        ),
        version(),
    ];
    let key = ["source", "policy"];
    let about = "What other ways to route requests to models would have cost";
    of_sources(params.output.clone(), about, key, None, columns)
}

fn rules_spec(params: &Params) -> DatasetSpec {
    let tokens =
        |name: &str, about: &str| with_unit(column(name, ColumnType::Int64, true, about), "tokens");
    let columns = vec![
        source(),
        policy(),
        text("kind", "The kind of requests; empty where kinds are not told apart"),
        text("length", "How long they are, from and to, in the unit of the length"),
        tokens("length_from", "The shortest; none where that is not known"),
        tokens("length_to", "The longest"),
        text("model", "The model that they go to"),
        whole("requests", "Later requests of that kind and length"),
        float("cost_before", "What one of them cost, on the average"),
        float("cost_after", "What it would have cost"),
        float("quality_before", "How good an answer was, on the average, 0 to 1"),
        float("quality_after", "How good it would have been"),
        version(),
    ];
    let key = ["source", "policy", "kind", "length"];
    let about = "Which requests a policy sends to which model";
    of_sources(params.rules_output.clone(), about, key, None, columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), rules_spec(params)]
}

fn level(level: Level) -> &'static str {
    match level {
        Level::All => "all",
        Level::Kind => "kind",
        Level::Length => "length",
        Level::KindAndLength => "kind_and_length",
    }
}

/// What a policy is called.
pub(super) fn name(calls: &Calls, way: Way) -> String {
    match way {
        Way::One(model) => {
            format!("all to {}", calls.models.get(model).map_or("", String::as_str))
        }
        Way::Cheapest { level: of, loss_max } => {
            let of = match of {
                Level::All => "",
                Level::Kind => " by kind",
                Level::Length => " by length",
                Level::KindAndLength => " by kind and length",
            };
            // Products of what was asked, as they are written.
            format!("cheapest{of}, {} worse at most", rounded(loss_max))
        }
    }
}

fn rounded(of: f64) -> f64 {
    (of * 1e9).round() / 1e9
}

/// The rows of both outputs.
pub(super) fn rows(
    params: &Params,
    version: i64,
    calls: &Calls,
    trials: Option<&Trials>,
) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let tried: Vec<(usize, &Tried)> =
        trials.into_iter().flat_map(|of| of.tried.iter().enumerate()).collect();
    // What was done is the first row.
    let base = trials.map(|_| None);
    let all: Vec<Option<(usize, &Tried)>> =
        base.into_iter().chain(tried.iter().copied().map(Some)).collect();
    let was = |get: fn(&Trials) -> f64| trials.map(get);
    let of = |get: fn(&Tried) -> f64, base: Option<f64>| {
        move |row: &Option<(usize, &Tried)>| row.map_or(base, |(_, tried)| Some(get(tried)))
    };
    let interval = |get: fn(&Tried) -> Interval, end: fn(Interval) -> f64| {
        move |row: &Option<(usize, &Tried)>| row.map_or(Some(0.0), |(_, of)| Some(end(get(of))))
    };
    let requests = trials.map_or(0, |of| of.requests);
    let policies = Table::new(&all, source, version)
        .text(|row| row.map_or(AS_IT_WAS.to_owned(), |(_, of)| name(calls, of.policy.way)))
        .some_text(|row| match row.map(|(_, of)| of.policy.way) {
            Some(Way::Cheapest { level: of, .. }) => Some(level(of).to_owned()),
            Some(Way::One(_)) => Some(level(Level::All).to_owned()),
            None => None,
        })
        .float(|row| match row.map(|(_, of)| of.policy.way) {
            Some(Way::Cheapest { loss_max, .. }) => Some(rounded(loss_max)),
            _ => None,
        })
        .whole(|_| requests)
        .whole(|row| row.map_or(0, |(_, of)| of.routed))
        .float(of(|of| of.cost, was(|of| of.cost)))
        .float(of(|of| of.quality, was(|of| of.quality)))
        .float(interval(|of| of.saving, |of| of.value))
        .float(interval(|of| of.saving, |of| of.lower))
        .float(interval(|of| of.saving, |of| of.upper))
        .float(interval(|of| of.loss, |of| of.value))
        .float(interval(|of| of.loss, |of| of.lower))
        .float(interval(|of| of.loss, |of| of.upper))
        .float(of(|of| of.learned_saving, Some(0.0)))
        .flag(|row| match row {
            Some((_, of)) => of.is_on_frontier,
            None => trials.is_some_and(|of| of.is_on_frontier),
        })
        .flag(|row| row.is_some_and(|(_, of)| of.is_sure))
        .flag(|row| {
            row.is_some_and(|(place, _)| trials.and_then(|of| of.recommended) == Some(place))
        })
        .float(|_| Some(1.0 - params.alpha))
        .finish(spec(params))?;
    let rules: Vec<(&Tried, Rule)> =
        tried.iter().flat_map(|(_, of)| of.rules.iter().map(|rule| (*of, *rule))).collect();
    let cell = |of: &(&Tried, Rule)| calls.table.cells().get(of.1.cell).copied();
    let length = |of: &(&Tried, Rule)| {
        cell(of).and_then(|cell| calls.lengths.get(cell.length).copied()).unwrap_or_default()
    };
    let rules = Table::new(&rules, source, version)
        .text(|of| name(calls, of.0.policy.way))
        .text(|of| cell(of).and_then(|of| calls.kinds.get(of.kind).cloned()).unwrap_or_default())
        .text(|of| match length(of) {
            (Some(from), Some(to)) => format!("{from} to {to}"),
            _ => String::new(),
        })
        .some_whole(|of| length(of).0)
        .some_whole(|of| length(of).1)
        .text(|of| calls.models.get(of.1.model).cloned().unwrap_or_default())
        .whole(|of| of.1.requests)
        .float(|of| Some(of.1.before.cost))
        .float(|of| Some(of.1.after.cost))
        .float(|of| Some(of.1.before.quality))
        .float(|of| Some(of.1.after.quality))
        .finish(rules_spec(params))?;
    Ok(vec![policies, rules])
}
