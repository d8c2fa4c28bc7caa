//! The rows that `drift` commits.

use analysis::drift::{Drift, Score};
use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;

use super::params::Params;
use super::read::{Found, Watched};
use crate::series::words::severity;
use crate::tables::columns::{column, float, of_sources, source, text, version, whole};
use crate::tables::rows::{Rows, Table};

fn time(name: &str, about: &str) -> ColumnSpec {
    column(name, ColumnType::Timestamp, false, about)
}

fn what() -> [ColumnSpec; 3] {
    [
        text(
            "subject",
            "The group that it is of, such as a model; empty where all rows are together",
        ),
        text("column_name", "What is watched, as it was asked for"),
        text(
            "statistic",
            "The distance: ks of numbers (Kolmogorov and Smirnov), psi of texts (population stability index), mmd of vectors (maximum mean discrepancy)",
        ),
    ]
}

fn spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source()];
    columns.extend(what());
    columns.extend([
        time("started_at", "When the first period began that was too far from the reference"),
        time("ended_at", "When the last one began"),
        time("told_at", "When the period began that it took to be sure"),
        whole("periods", "Periods that were too far, one after another"),
        whole("in_a_row", "Periods in a row that it took to report it; more where periods of the group depend on each other"),
        text("state", "open: so at the end; over; usual: it lasted as long as the reference, and is the new one"),
        float("distance", "How far the furthest of them is, in its statistic"),
        float("distance_limit", "How far a period with as many rows may be, by the periods of the reference"),
        float("stability_index", "Its population stability index; none of vectors"),
        float("severity", "0 at the limit, 50 at twice, 80 at five times"),
        float("false_alarms", "False alarms in a group and a quarter of a year where nothing drifts, on the average, about"),
        text("before", "What the reference is like"),
        text("after", "What the furthest period is like"),
        version(),
    ]);
    let key = ["source", "subject", "column_name", "started_at"];
    of_sources(
        params.output.clone(),
        "What is no longer as it was",
        key,
        Some("started_at"),
        columns,
    )
}

fn scores_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![source()];
    columns.extend(what());
    columns.extend([
        time("at", "When the period began"),
        whole("rows", "Its rows that were looked at"),
        float("distance", "How far it is from the reference, one of the reference from its others"),
        float("distance_limit", "How far it may be; none where the reference is not complete"),
        float(
            "stability_index",
            "Its population stability index; none of vectors, and of the reference",
        ),
        column("is_reference", ColumnType::Bool, false, "Whether it says what is usual"),
        column("is_beyond", ColumnType::Bool, false, "Whether it is further than it may be"),
        version(),
    ]);
    let key = ["source", "subject", "column_name", "at"];
    let about = "How far each period is from what is usual";
    of_sources(params.scores_output.clone(), about, key, Some("at"), columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), scores_spec(params)]
}

fn finite(of: f64) -> Option<f64> {
    of.is_finite().then_some(of)
}

/// The rows of both outputs.
pub(super) fn rows(params: &Params, version: i64, found: &Found) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let subject = |of: &Watched| found.groups.get(of.group).cloned().unwrap_or_default();
    let column = |of: &Watched| params.watched().get(of.column).cloned().unwrap_or_default();
    let statistic = |of: &Watched| {
        found.forms.get(of.column).map_or(String::new(), |form| form.statistic().to_owned())
    };
    let periods = params.periods_of();
    let start = |period: i64| periods.start_us(period);
    let drifts: Vec<(&Watched, &Drift)> = found
        .watched
        .iter()
        .flat_map(|of| of.drifts.iter().map(move |drift| (of, drift)))
        .collect();
    let drifts = Table::new(&drifts, source, version)
        .text(|of| subject(of.0))
        .text(|of| column(of.0))
        .text(|of| statistic(of.0))
        .time(|of| start(of.1.began))
        .time(|of| start(of.1.ended))
        .time(|of| start(of.1.told))
        .whole(|of| of.1.periods)
        .whole(|of| of.1.in_a_row as u64)
        .text(|of| match of.1 {
            drift if drift.is_usual_now => "usual".to_owned(),
            drift if drift.is_open => "open".to_owned(),
            _ => "over".to_owned(),
        })
        .float(|of| finite(of.1.worst.distance))
        .float(|of| of.1.worst.limit.and_then(finite))
        .float(|of| of.1.worst.stability.and_then(finite))
        .float(|of| of.1.worst.limit.map(|limit| severity(of.1.worst.distance, limit)))
        .float(|_| Some(params.false_alarms(&found.rule)))
        .text(|of| of.1.words.0.clone())
        .text(|of| of.1.words.1.clone())
        .finish(spec(params))?;
    let scores: Vec<(&Watched, &Score)> = found
        .watched
        .iter()
        .flat_map(|of| of.scores.iter().map(move |score| (of, score)))
        .collect();
    let scores = Table::new(&scores, source, version)
        .text(|of| subject(of.0))
        .text(|of| column(of.0))
        .text(|of| statistic(of.0))
        .time(|of| start(of.1.at))
        .whole(|of| of.1.rows)
        .float(|of| of.1.limit.and(finite(of.1.distance)))
        .float(|of| of.1.limit.and_then(finite))
        .float(|of| of.1.stability.and_then(finite))
        .flag(|of| of.1.is_reference)
        .flag(|of| of.1.is_beyond())
        .finish(scores_spec(params))?;
    Ok(vec![drifts, scores])
}
