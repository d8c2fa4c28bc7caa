//! The rows that `predictions` commits.

use analysis::foresight::Compared;
use datasets::{ColumnType, DatasetSpec};
use engine::Result;
use serde_json::json;

use super::foresee::{Accuracy, Foreseen, Found, Model, Suggested};
use super::measures::Target;
use super::params::Params;
use crate::tables::columns::{
    column, float, of_sources, seconds, some_text, source, text, version, whole,
};
use crate::tables::rows::{Rows, Table};

fn spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("case_id", "The case, which goes on"),
        column(
            "at",
            ColumnType::Timestamp,
            false,
            "When its last event was done: what is foretold is foretold of then",
        ),
        text("last_activity", "What was done last"),
        whole("events", "Its events by now"),
        some_text("next_activity", "What comes next; (end) where nothing does"),
        float("next_probability", "The chance of it, as the model has it, 0 to 1"),
        seconds("remaining_seconds", "How long it goes on from `at`"),
        seconds(
            "remaining_lower_seconds",
            "The lower end of where that lies in four cases of five",
        ),
        seconds("remaining_upper_seconds", "The upper end"),
        float("success_probability", "The chance that it succeeds, 0 to 1; 1 where it has"),
        some_text(
            "suggested_activity",
            "The next step with which more of the cases that were at the same place succeeded than otherwise: what went together, which is no proof of what helps",
        ),
        column("suggestion_cases", ColumnType::Int64, true, "Cases at the same place that took it"),
        float("suggestion_success", "Part of them that succeeded, 0 to 1"),
        float(
            "suggestion_success_lower",
            "Where the share behind it lies with a confidence of 95 %",
        ),
        float("suggestion_success_upper", "The upper end"),
        column(
            "otherwise_cases",
            ColumnType::Int64,
            true,
            "Cases at the same place that went on otherwise",
        ),
        float("otherwise_success", "Part of them that succeeded, 0 to 1"),
        float(
            "suggestion_p",
            "How often chance alone says as much, over all steps at all places that were looked at",
        ),
        column(
            "suggestion_place",
            ColumnType::Int64,
            true,
            "Last activities that these cases have in common with this one",
        ),
        column(
            "suggestion_evidence",
            ColumnType::Json,
            true,
            "The latest of the cases that took it and succeeded, three at most",
        ),
        some_text("next_model", "What foretold the next activity: markov or network"),
        some_text("remaining_model", "What foretold the remaining time"),
        some_text("success_model", "What foretold success"),
        version(),
    ];
    let about = "What becomes of cases that go on";
    of_sources(params.output.clone(), about, ["source", "case_id"], Some("at"), columns)
}

fn accuracy_spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text("target", "What is foretold: next_activity, remaining_time, outcome"),
        text("model", "markov: what mostly came after the last activities; network"),
        column(
            "is_chosen",
            ColumnType::Bool,
            false,
            "Whether it is taken, by cases before those of the figures",
        ),
        whole("cases", "Cases that it was held against, the latest; all figures are of these"),
        whole("events", "Their events after which something was foretold"),
        float("accuracy", "Part of the next activities that were right, 0 to 1"),
        float("macro_f1", "F1 of each activity, their mean"),
        seconds("mae_seconds", "How far remaining times were off, the mean"),
        float(
            "coverage",
            "Part of the remaining times that lay in their interval, which is to be 0.8",
        ),
        float("brier", "Square of how far the chance of success was off, the mean"),
        float("auc", "How often a case that succeeded had a higher chance than one that did not"),
        float(
            "difference",
            "By how much it is better than the other model: in accuracy, seconds, or brier",
        ),
        float("difference_lower", "Where that lies with a confidence of 95 %, drawing cases"),
        float("difference_upper", "The upper end"),
        float("validation_difference", "The same on the cases that the model is taken by"),
        float("validation_difference_lower", "Where that lies with a confidence of 95 %"),
        float("validation_difference_upper", "The upper end"),
        column("last_activities", ColumnType::Int64, true, "How many of them markov looks at"),
        column("epochs", ColumnType::Int64, true, "How often the network saw what it learned from"),
        whole("learned_cases", "Cases that it learned from for these figures"),
        version(),
    ];
    let about = "How good what is foretold of cases was";
    of_sources(params.accuracy_output.clone(), about, ["source", "target", "model"], None, columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), accuracy_spec(params)]
}

/// The rows of both outputs.
pub(super) fn rows(params: &Params, version: i64, found: &Found) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let chosen = |target: Target| found.chosen[target as usize].map(Model::name).map(str::to_owned);
    let of = |get: fn(&Suggested) -> f64| move |of: &Foreseen| of.suggestion.as_ref().map(get);
    let count = |get: fn(&Suggested) -> u64| move |of: &Foreseen| of.suggestion.as_ref().map(get);
    let remaining = |get: fn((f64, f64, f64)) -> f64| {
        move |of: &Foreseen| of.remaining_us.map(|of| get(of) / 1e6)
    };
    let cases = Table::new(&found.cases, source, version)
        .text(|of| of.case.clone())
        .time(|of| of.at_us)
        .text(|of| of.last_activity.clone())
        .whole(|of| of.events)
        .some_text(|of| of.next.as_ref().map(|next| next.0.clone()))
        .float(|of| of.next.as_ref().map(|next| next.1))
        .float(remaining(|of| of.0))
        .float(remaining(|of| of.1))
        .float(remaining(|of| of.2))
        .float(|of| of.success)
        .some_text(|of| of.suggestion.as_ref().map(|of| of.step.clone()))
        .some_whole(count(|of| of.of.cases))
        .float(of(|of| of.of.success))
        .float(of(|of| of.of.lower))
        .float(of(|of| of.of.upper))
        .some_whole(count(|of| of.of.otherwise_cases))
        .float(of(|of| of.of.otherwise))
        .float(of(|of| of.of.p))
        .some_whole(count(|of| of.of.order as u64))
        .some_text(|of| of.suggestion.as_ref().map(|of| json!(of.examples).to_string()))
        .some_text(|of| of.next.as_ref().and_then(|_| chosen(Target::Next)))
        .some_text(|of| of.remaining_us.and_then(|_| chosen(Target::Remaining)))
        .some_text(|of| of.success.and_then(|_| chosen(Target::Success)))
        .finish(spec(params))?;
    let compared = |get: fn(&Accuracy) -> Option<Compared>, end: fn(Compared) -> f64| {
        move |of: &Accuracy| get(of).map(end)
    };
    let accuracy = Table::new(&found.accuracy, source, version)
        .text(|of| of.target.name().to_owned())
        .text(|of| of.model.name().to_owned())
        .flag(|of| of.is_chosen)
        .whole(|of| of.measures.cases)
        .whole(|of| of.measures.events)
        .float(|of| of.measures.accuracy)
        .float(|of| of.measures.macro_f1)
        .float(|of| of.measures.mae_seconds)
        .float(|of| of.measures.coverage)
        .float(|of| of.measures.brier)
        .float(|of| of.measures.auc)
        .float(compared(|of| of.test, |of| of.difference))
        .float(compared(|of| of.test, |of| of.lower))
        .float(compared(|of| of.test, |of| of.upper))
        .float(compared(|of| of.validation, |of| of.difference))
        .float(compared(|of| of.validation, |of| of.lower))
        .float(compared(|of| of.validation, |of| of.upper))
        .some_whole(|of| of.order)
        .some_whole(|of| of.epochs)
        .whole(|of| of.learned_cases)
        .finish(accuracy_spec(params))?;
    Ok(vec![cases, accuracy])
}
