//! What is known of each series before its values are read: from when to when, and how often. From it come
//! the interval of the common grid and the cohorts: series that share enough of their time. Series of
//! different months have nothing to compare, and one grid for all would be mostly empty.

use analysis::calendar::{Interval, Unit};
use analysis::series::Span;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::ident;
use engine::{Error, Result};
use futures::StreamExt;

use crate::run::context::RunContext;
use crate::series::{AT, SERIES, SeriesSource, VALUE, check_instant};

/// When a series begins and ends, and how many values it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) series: String,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) values: i64,
}

/// Series that are compared with each other, over the time that all of them cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cohort {
    /// Names, sorted.
    pub(super) series: Vec<String>,
    /// First instant that all have.
    pub(super) first_us: i64,
    /// Last instant that all have.
    pub(super) last_us: i64,
}

/// Intervals that people sample at, in seconds; an inferred interval is the next of them.
const USUAL_INTERVALS_S: [i64; 17] =
    [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 21_600, 86_400];

/// Days of a mean month.
const MONTH_DAYS: f64 = 365.242_5 / 12.0;
/// Part that the mean distance of monthly samples is off at most. Four weeks are off by 8 %.
const MONTHS_OFF_MAX: f64 = 0.025;

/// The extents of all series, by name.
pub(super) async fn extents(ctx: &RunContext, source: &SeriesSource<'_>) -> Result<Vec<Extent>> {
    let frame = source.frame(ctx).await?.filter(ident(VALUE).is_not_null())?;
    let frame = frame
        .aggregate(
            vec![ident(SERIES)],
            vec![
                min(ident(AT)).alias("first"),
                max(ident(AT)).alias("last"),
                count(ident(VALUE)).alias("values"),
            ],
        )?
        .sort(vec![ident(SERIES).sort(true, false)])?;
    let broken = || Error::internal("extents: the rows have other columns than were asked for");
    let mut stream = ctx.session().stream(frame).await?;
    let mut extents = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let names = arrow::compute::cast(batch.column(0), &DataType::Utf8)?;
        let names = names.as_string_opt::<i32>().ok_or_else(broken)?;
        let time = |column: usize| {
            batch.column(column).as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)
        };
        let (first, last) = (time(1)?, time(2)?);
        let values = batch.column(3).as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
        for row in 0..batch.num_rows() {
            let series = names.value(row).to_owned();
            let (first_us, last_us) = (first.value(row), last.value(row));
            check_instant(source.job, &series, first_us)?;
            check_instant(source.job, &series, last_us)?;
            extents.push(Extent { series, first_us, last_us, values: values.value(row) });
        }
    }
    Ok(extents)
}

/// The interval at which most series have samples: the median of their mean distances, rounded to one that
/// people use when it is near, or to months. `None` when no series has two samples.
pub(super) fn usual_interval(extents: &[Extent]) -> Option<Interval> {
    let mut distances: Vec<i64> = extents
        .iter()
        .filter(|e| e.values > 1)
        .map(|e| (e.last_us - e.first_us) / (e.values - 1))
        .filter(|distance| *distance > 0)
        .collect();
    distances.sort_unstable();
    let middle = *distances.get(distances.len() / 2)?;
    let days = middle as f64 / Span::DAY.micros() as f64;
    let months = (days / MONTH_DAYS).round();
    if months >= 1.0 && (days / (months * MONTH_DAYS) - 1.0).abs() <= MONTHS_OFF_MAX {
        return Some(Interval::Calendar(Unit::Month, months as u32));
    }
    // Gaps make the mean distance longer than the usual one, doubled rows shorter; neither by half.
    let usual = USUAL_INTERVALS_S
        .into_iter()
        .map(|seconds| seconds * 1_000_000)
        .min_by_key(|usual| (usual - middle).abs())
        .filter(|usual| (usual - middle).abs() <= *usual / 4);
    let usual = usual.unwrap_or(middle);
    match usual == Span::DAY.micros() {
        true => Some(Interval::DAY),
        false => Span::from_micros(usual).map(Interval::Fixed),
    }
}

impl Extent {
    /// Whether so few of its intervals have a value that it is compared with nothing: at most `share` of them are empty, where a value
    /// fills so many after it, too.
    pub(super) fn is_sparse(&self, interval: Interval, fills: usize, share: f64) -> bool {
        let intervals = (self.last_us - self.first_us) / interval.mean_micros() + 1;
        (self.values as f64) * (1.0 + fills as f64) < (1.0 - share) * intervals as f64
    }
}

/// Groups series by shared time. Those that `is_sparse` says come last, and shorten the time of no others. Each joins the cohort that keeps the most of its time, when what all
/// members share stays at least `min_overlap` of the longest member; else it begins one of its own. `check` is asked for each series
/// whether to go on.
///
/// Time: of each series those cohorts are looked at that have not ended when it begins.
pub(super) fn cohorts(
    extents: &[Extent],
    min_overlap: f64,
    is_sparse: &dyn Fn(&Extent) -> bool,
    check: &dyn Fn() -> Result<()>,
) -> Result<Vec<Cohort>> {
    struct Open {
        cohort: Cohort,
        longest_us: i64,
    }
    let mut by_start: Vec<(bool, &Extent)> =
        extents.iter().map(|extent| (is_sparse(extent), extent)).collect();
    // The longest first among equal starts, so that a cohort begins with its widest member.
    by_start.sort_by(|(a_sparse, a), (b_sparse, b)| {
        (a_sparse, a.first_us, b.last_us, &a.series)
            .cmp(&(b_sparse, b.first_us, a.last_us, &b.series))
    });
    let mut open: Vec<Open> = Vec::new();
    // Those of `open` that a later series can join.
    let mut joinable: Vec<usize> = Vec::new();
    let mut were_sparse = false;
    for (is_sparse, extent) in by_start {
        check()?;
        if is_sparse && !were_sparse {
            (were_sparse, joinable) = (true, (0..open.len()).collect());
        }
        let length = extent.last_us - extent.first_us;
        joinable.retain(|&at| open[at].cohort.last_us > extent.first_us);
        let shared = |cohort: &Open| {
            let first = cohort.cohort.first_us.max(extent.first_us);
            let last = cohort.cohort.last_us.min(extent.last_us);
            (last - first) as f64 / cohort.longest_us.max(length).max(1) as f64
        };
        let best = joinable
            .iter()
            .copied()
            .max_by(|a, b| shared(&open[*a]).total_cmp(&shared(&open[*b])))
            .filter(|at| shared(&open[*at]) >= min_overlap.max(f64::MIN_POSITIVE));
        match best {
            Some(at) => {
                let joined = &mut open[at];
                if is_sparse {
                    joined.cohort.series.push(extent.series.clone());
                    continue;
                }
                joined.cohort.first_us = joined.cohort.first_us.max(extent.first_us);
                joined.cohort.last_us = joined.cohort.last_us.min(extent.last_us);
                joined.longest_us = joined.longest_us.max(length);
                joined.cohort.series.push(extent.series.clone());
            }
            None => {
                joinable.push(open.len());
                let (series, first_us, last_us) =
                    (vec![extent.series.clone()], extent.first_us, extent.last_us);
                let cohort = Cohort { series, first_us, last_us };
                open.push(Open { cohort, longest_us: length });
            }
        }
    }
    let mut cohorts: Vec<Cohort> = open.into_iter().map(|open| open.cohort).collect();
    for cohort in &mut cohorts {
        cohort.series.sort_unstable();
    }
    Ok(cohorts)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn extent(series: &str, first_s: i64, last_s: i64, values: i64) -> Extent {
        let (first_us, last_us) = (first_s * 1_000_000, last_s * 1_000_000);
        Extent { series: series.into(), first_us, last_us, values }
    }

    #[test]
    fn series_of_different_months_are_not_compared() {
        let extents = [
            extent("june b", 10, 1_000, 100),
            extent("may", -5_000, -4_000, 100),
            extent("june a", 0, 990, 100),
            extent("june short", 0, 100, 10),
        ];
        let cohorts = cohorts(&extents, 0.5, &|_| false, &|| Ok(())).unwrap();
        let names: Vec<Vec<&str>> =
            cohorts.iter().map(|c| c.series.iter().map(String::as_str).collect()).collect();
        assert_eq!(names, [vec!["may"], vec!["june a", "june b"], vec!["june short"]]);
        assert_eq!((cohorts[1].first_us, cohorts[1].last_us), (10_000_000, 990_000_000));
    }

    #[test]
    fn a_series_of_few_values_shortens_nobodys_time() {
        let extents =
            [extent("a", 0, 1_000, 101), extent("b", 0, 990, 100), extent("c", 0, 600, 7)];
        let interval = "10s".parse().unwrap();
        let is_sparse = |extent: &Extent| extent.is_sparse(interval, 2, 0.5);
        let cohorts = cohorts(&extents, 0.5, &is_sparse, &|| Ok(())).unwrap();
        assert_eq!((cohorts.len(), cohorts[0].series.len()), (1, 3));
        assert_eq!((cohorts[0].first_us, cohorts[0].last_us), (0, 990_000_000));
        // Half of 61 intervals, of which a value fills three.
        let of = |values| is_sparse(&extent("c", 0, 600, values));
        assert_eq!((of(10), of(11)), (true, false));
    }

    #[test]
    fn many_series_of_one_instant_take_no_time_and_one_can_stop_it() {
        let lone = |at| extent("lone", at, at, 1);
        let mut extents: Vec<Extent> = (0..100_000).map(|at| lone(at / 2)).collect();
        extents.extend((0..100_000).map(|at| extent("short", 2 * at, 2 * at + 1, 2)));
        let asked = std::cell::Cell::new(0);
        let counted = || {
            asked.set(asked.get() + 1);
            Ok(())
        };
        assert_eq!(cohorts(&extents, 0.5, &|_| false, &counted).unwrap().len(), 200_000);
        assert_eq!(asked.get(), 200_000);
        let stopped = || Err(crate::run::context::cancelled());
        assert_eq!(
            cohorts(&extents, 0.5, &|_| false, &stopped).unwrap_err().code(),
            engine::Code::Cancelled
        );
    }

    #[test]
    fn the_interval_is_one_that_people_use_when_it_is_near() {
        let usual =
            |extents: &[Extent]| usual_interval(extents).map(|interval| interval.to_string());
        // One in ten samples is missing.
        assert_eq!(usual(&[extent("a", 0, 300 * 1_000, 901)]).unwrap(), "5m");
        assert_eq!(usual(&[extent("a", 0, 43 * 100, 101)]).unwrap(), "43s");
        let days = |count: i64| count * 86_400;
        assert_eq!(usual(&[extent("a", 0, days(3_622), 120)]).unwrap(), "1mo");
        assert_eq!(usual(&[extent("a", 0, days(3_560), 40)]).unwrap(), "1q");
        assert_eq!(usual(&[extent("a", 0, days(400), 390)]).unwrap(), "1d");
        assert_eq!(usual(&[extent("a", 0, days(280), 11)]).unwrap(), "4w");
        assert_eq!(usual(&[extent("a", 0, 0, 1), extent("b", 5, 5, 3)]), None);
        assert_eq!(usual(&[extent("a", 0, 300, 2), extent("b", 0, 900, 1)]).unwrap(), "5m");
    }
}
