//! How good forecasts were: all are kept in a history, and when the instant of one has come it is added to the accuracies, beside what
//! came. Both only grow; what waits is what the history has and the accuracies do not.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::JoinType;
use datafusion::logical_expr::{cast, ident, lit};
use datafusion::scalar::ScalarValue;
use engine::{Code, Error, Result};
use futures::StreamExt;

use super::NAME;
use super::look::Forecast;
use super::params::Params;
use crate::run::context::RunContext;
use crate::series::{Regular, is_about};
use analysis::series::prediction_interval::LEVELS;

/// Memory of a forecast that waits.
const PENDING_BYTES: usize = 160;
/// A forecast that nothing came to is not looked for longer after its instant than this.
const WAIT_MAX_US: i64 = 90 * 86_400_000_000;
/// Or this number of intervals, if that is longer: a year of months.
const WAIT_INTERVALS: f64 = 13.0;

/// What was said of one interval.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub(super) made_at_us: i64,
    pub(super) at_us: i64,
    pub(super) step: i64,
    pub(super) interval_us: i64,
    pub(super) method: String,
    pub(super) value: f64,
    /// By level: lower and upper.
    pub(super) bounds: [(f64, f64); LEVELS.len()],
    pub(super) source_version: i64,
    /// `None` until it comes.
    pub(super) actual: Option<f64>,
}

/// What was said of each series, in the order of their names.
pub(super) type Kept = BTreeMap<String, Vec<Said>>;

impl Said {
    /// What a forecast says of each interval.
    pub(super) fn of(forecast: &Forecast, source_version: i64) -> impl Iterator<Item = Self> {
        let at = move |step: usize| Self {
            made_at_us: forecast.made_at_us,
            at_us: forecast.at_us[step],
            step: step as i64 + 1,
            interval_us: forecast.interval.mean_micros(),
            method: forecast.tried.method.as_str().to_owned(),
            value: forecast.mean[step],
            bounds: [0, 1].map(|level| {
                let (lower, upper) = &forecast.bounds[level];
                (lower[step], upper[step])
            }),
            source_version,
            actual: None,
        };
        (0..forecast.mean.len()).map(at)
    }

    /// Whether what came lies within the interval of a level.
    pub(super) fn is_within(&self, level: usize) -> Option<bool> {
        let (lower, upper) = self.bounds[level];
        self.actual.map(|actual| (lower..=upper).contains(&actual))
    }
}

/// What waited for a series, with what came.
pub(super) fn filled(series: &Regular, waiting: &Kept) -> Option<Vec<Said>> {
    let mut said = waiting.get(&series.name)?.clone();
    for said in &mut said {
        let is_of_interval = is_about(series.interval_us(), said.interval_us);
        said.actual = series.value_at(said.at_us).filter(|_| is_of_interval);
    }
    Some(said)
}

/// How many of what waited came, and what part of these lies within each interval.
pub(super) fn came(kept: &Kept) -> (u64, Option<[f64; LEVELS.len()]>) {
    let all = || kept.values().flatten().filter(|said| said.actual.is_some());
    let count = all().count();
    let within = |level: usize| {
        all().filter(|said| said.is_within(level) == Some(true)).count() as f64 / count as f64
    };
    (count as u64, (count > 0).then(|| [0, 1].map(within)))
}

/// What earlier runs said of instants that are past, as `newest_us` knows, and that nothing came to yet.
pub(super) async fn waiting(ctx: &RunContext, params: &Params, newest_us: i64) -> Result<Kept> {
    let session = ctx.present().await?;
    if !session.catalog().datasets.contains_key(&params.history_output) {
        return Ok(Kept::new());
    }
    let of_source = || {
        let of_source = ident("source").eq(lit(params.dataset.as_str()));
        of_source.and(ident("question").eq(lit(params.question())))
    };
    let instant = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    let micros = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let float = |name: &str| cast(ident(name), DataType::Float64);
    let at_us = cast(cast(cast(ident("at"), micros()), DataType::Int64), DataType::Float64);
    let waited_us = lit(newest_us as f64) - at_us;
    let is_recent = ident("at").gt_eq(instant(newest_us.saturating_sub(WAIT_MAX_US)));
    let is_recent =
        is_recent.or(waited_us.lt_eq(float("interval_seconds") * lit(1e6 * WAIT_INTERVALS)));
    let is_past = is_recent.and(ident("at").lt_eq(instant(newest_us)));
    let mut frame = session.table(&params.history_output).await?;
    frame = frame.filter(of_source().and(is_past.clone()))?;
    if session.catalog().datasets.contains_key(&params.accuracy_output) {
        let came = session.table(&params.accuracy_output).await?;
        let came = came.filter(of_source().and(is_past))?.select(vec![
            ident("series").alias("came_series"),
            ident("made_at").alias("came_made_at"),
            ident("at").alias("came_at"),
        ])?;
        let (own, theirs) =
            (["series", "made_at", "at"], ["came_series", "came_made_at", "came_at"]);
        frame = frame.join(came, JoinType::LeftAnti, &own, &theirs, None)?;
    }
    let text = |name: &str| cast(ident(name), DataType::Utf8);
    let columns = vec![
        text("series"),
        text("method"),
        cast(ident("made_at"), micros()),
        cast(ident("at"), micros()),
        cast(ident("step"), DataType::Int64),
        cast(ident("source_version"), DataType::Int64),
        float("interval_seconds"),
        float("value"),
        float("lower_80"),
        float("upper_80"),
        float("lower_95"),
        float("upper_95"),
        cast(ident("said_at"), micros()).alias("said"),
    ];
    let frame = frame.select(columns)?.sort(vec![ident("said").sort(true, false)])?;
    let mut rows = session.stream(frame).await?;
    let mut last: BTreeMap<String, BTreeMap<(i64, i64), Said>> = BTreeMap::new();
    let mut count = 0;
    let most = ctx.memory_budget_bytes() / 4 / PENDING_BYTES;
    while let Some(batch) = rows.next().await.transpose()? {
        let text = |at: usize| batch.column(at).as_string::<i32>();
        let time = |at: usize| batch.column(at).as_primitive::<TimestampMicrosecondType>();
        let whole = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let float = |at: usize| batch.column(at).as_primitive::<Float64Type>();
        for row in 0..batch.num_rows() {
            let said = Said {
                made_at_us: time(2).value(row),
                at_us: time(3).value(row),
                step: whole(4).value(row),
                interval_us: (float(6).value(row) * 1e6).round() as i64,
                method: text(1).value(row).to_owned(),
                value: float(7).value(row),
                bounds: [(8, 9), (10, 11)]
                    .map(|(lower, upper)| (float(lower).value(row), float(upper).value(row))),
                source_version: whole(5).value(row),
                actual: None,
            };
            let key = (said.made_at_us, said.at_us);
            // What was said again at the same instant takes the place of what was said first.
            let own = last.entry(text(0).value(row).to_owned()).or_default();
            count += usize::from(own.insert(key, said).is_none());
        }
        if count > most {
            let says = format!(
                "{NAME}: more than {most} forecasts wait for what comes, which is what a quarter of the memory budget holds: \
                 take a larger budget, or accuracy = false"
            );
            return Err(Error::user(Code::ResourcesExhausted, says));
        }
        ctx.check()?;
    }
    Ok(last.into_iter().map(|(series, said)| (series, said.into_values().collect())).collect())
}

#[cfg(test)]
mod tests {
    use analysis::calendar::Grid;
    use analysis::series::Span;

    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn series(last: i64, values: &[f64]) -> Regular {
        let grid = Grid::fixed(Span::HOUR, 0);
        Regular { name: "s".into(), grid, last, values: values.to_vec() }
    }

    fn said(made_at: i64, step: i64, actual: Option<f64>) -> Said {
        Said {
            made_at_us: made_at * HOUR_US,
            at_us: (made_at + step) * HOUR_US,
            step,
            interval_us: HOUR_US,
            method: "ets".into(),
            value: 10.0,
            bounds: [(8.0, 12.0), (6.0, 14.0)],
            source_version: 1,
            actual,
        }
    }

    #[test]
    fn what_came_is_that_of_its_interval_and_of_no_other() {
        let now = series(103, &[9.0, f64::NAN, 13.0, 15.0]);
        let waiting =
            Kept::from([("s".to_owned(), (1..=6).map(|step| said(99, step, None)).collect())]);
        let found = filled(&now, &waiting).unwrap_or_default();
        let actual: Vec<Option<f64>> = found.iter().map(|said| said.actual).collect();
        assert_eq!(actual, [Some(9.0), None, Some(13.0), Some(15.0), None, None]);
        let within = |level: usize| found.iter().filter_map(move |said| said.is_within(level));
        assert_eq!(within(0).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(within(1).collect::<Vec<_>>(), [true, true, false]);
        let kept = Kept::from([("s".to_owned(), found)]);
        assert_eq!(came(&kept), (3, Some([1.0 / 3.0, 2.0 / 3.0])));
        assert_eq!(came(&waiting), (0, None));
        assert_eq!(filled(&series(103, &[1.0]), &Kept::new()), None);
    }

    #[test]
    fn instants_are_met_to_half_an_interval_and_before_the_first_there_is_none() {
        let now = series(103, &[1.0, 2.0, 3.0]);
        let half = HOUR_US / 2;
        let at = |off: i64| now.value_at(103 * HOUR_US + off);
        assert_eq!(
            [at(-half), at(-half - 1), at(half), at(half + 1)],
            [Some(2.0), Some(2.0), Some(3.0), None]
        );
        assert_eq!([at(-2 * HOUR_US - half + 1), at(-3 * HOUR_US)], [Some(1.0), None]);
        // The usual distance of samples that wander is another at every look.
        let of_interval = |interval_us: i64| {
            let waiting = Said { interval_us, ..said(102, 1, None) };
            let waiting = Kept::from([("s".to_owned(), vec![waiting])]);
            filled(&now, &waiting).unwrap_or_default()[0].actual
        };
        assert_eq!(of_interval(2 * HOUR_US), None);
        assert_eq!(of_interval(HOUR_US + HOUR_US / 60), Some(3.0));
        assert_eq!(of_interval(HOUR_US + HOUR_US / 40), None);
    }
}
