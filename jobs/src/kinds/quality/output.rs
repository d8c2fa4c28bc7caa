//! The rows that `quality` commits.

use datasets::{ColumnSpec, ColumnType, DatasetSpec};
use engine::Result;
use serde_json::{Value, json};

use super::checks::{Checked, Failed, Score};
use super::params::{Dimension, Params};
use super::window::Window;
use crate::series::words::instant;
use crate::tables::columns::{column, float, of_sources, source, text, version, whole};
use crate::tables::rows::{Rows, Table};

fn began() -> ColumnSpec {
    column("at", ColumnType::Timestamp, false, "When the period began")
}

fn spec(params: &Params) -> DatasetSpec {
    let columns = vec![
        source(),
        text(
            "check_name",
            "What is measured: gap (seconds without a row), rows, nulls, empty, repeated or orphans (parts of the rows, 0 to 1), least, greatest, mean, \
             shortest or longest (characters), or distribution (the distance of the job drift)",
        ),
        text("column_name", "Of which column; empty where it is of all rows"),
        text(
            "dimension",
            "What that is about: freshness, volume, completeness, validity, uniqueness, integrity or consistency",
        ),
        began(),
        whole("rows", "Rows that it is of"),
        float("value", "What was measured"),
        float("usual", "The middle of the periods before it; none where they are too few"),
        float("lower", "The least that it may be; none where it is never too small"),
        float("upper", "The most that it may be; none where it is never too large"),
        text("limits_from", "Who says so: learned from the periods before it, or known"),
        column("is_fine", ColumnType::Bool, false, "Whether it is within its limits"),
        float(
            "severity",
            "0 at the limit, 50 at twice as far from what is usual, 80 at five times",
        ),
        text("words", "What is so, in words"),
        version(),
    ];
    let key = ["source", "check_name", "column_name", "at"];
    let about = "Whether what is measured of the periods of a dataset is as it should be";
    of_sources(params.output.clone(), about, key, Some("at"), columns)
}

fn scores_spec(params: &Params) -> DatasetSpec {
    let mut columns = vec![
        source(),
        began(),
        float("score", "0 to 100: the mean of the dimensions"),
        whole("checks", "How many checks there are"),
        whole("failed", "How many of them failed"),
        column(
            "reasons",
            ColumnType::Json,
            false,
            "Those that failed, the dearest first: check, column, period, the points that it costs, and what is so",
        ),
    ];
    let part = |of: &Dimension| {
        let about = "The part of its checks that did not fail, 0 to 1; none without any";
        float(of.as_str(), about)
    };
    columns.extend(Dimension::ALL.iter().map(part));
    columns.push(version());
    let about = "How good the periods of a dataset are, and why";
    of_sources(params.scores_output.clone(), about, ["source", "at"], Some("at"), columns)
}

pub(super) fn specs(params: &Params) -> Vec<DatasetSpec> {
    vec![spec(params), scores_spec(params)]
}

/// Why a score is not 100.
pub(super) fn reasons(window: &Window, failed: &[Failed]) -> Vec<Value> {
    let reason = |of: &Failed| {
        let column = Some(&of.column).filter(|column| !column.is_empty());
        let points = (of.points * 10.0).round() / 10.0;
        let (check, at) = (of.check.as_str(), instant(window.start_us(of.at)));
        json!({ "check": check, "column": column, "at": at, "points": points, "words": of.words })
    };
    failed.iter().map(reason).collect()
}

/// The rows of both outputs.
pub(super) fn rows(
    params: &Params,
    version: i64,
    window: &Window,
    checked: &[Checked],
    scores: &[Score],
) -> Result<Vec<Rows>> {
    let source = params.dataset.as_str();
    let finite = |of: f64| of.is_finite().then_some(of);
    let checks = Table::new(checked, source, version)
        .text(|of| of.check.as_str().to_owned())
        .text(|of| of.column.clone())
        .text(|of| of.check.dimension().as_str().to_owned())
        .time(|of| window.start_us(of.reading.at))
        .whole(|of| of.reading.rows)
        .float(|of| finite(of.reading.value))
        .float(|of| finite(of.limits.usual))
        .float(|of| finite(of.limits.lower))
        .float(|of| finite(of.limits.upper))
        .text(|of| of.origin.as_str().to_owned())
        .flag(|of| of.is_fine)
        .float(|of| Some(of.severity()))
        .text(Checked::words)
        .finish(spec(params))?;
    let mut table = Table::new(scores, source, version)
        .time(|of| window.start_us(of.at))
        .float(|of| Some(of.score))
        .whole(|of| of.checks as u64)
        .whole(|of| of.failed.len() as u64)
        .text(|of| Value::from(reasons(window, &of.failed)).to_string());
    for dimension in Dimension::ALL {
        table = table.float(|of| of.dimensions.get(&dimension).copied());
    }
    Ok(vec![checks, table.finish(scores_spec(params))?])
}
