//! Which intervals a run computes: all, or those that rows came to since the run before, and those that were not over then.
//!
//! A run's commit says up to which version of the input it has read and up to which instant intervals were over
//! ([`engine::CommitLabel::marks`]), under names made of all its parameters. Other metrics of the same output commit in between, and
//! touch none of its rows.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::logical_expr::{Expr, cast, ident};
use datafusion::prelude::DataFrame;
use engine::{Code, CommitRecord, Result, Version};
use futures::StreamExt;

use super::params::Params;
use crate::parameters;
use crate::run::commits::is_still;
use crate::run::context::RunContext;
use crate::series::{AT, MeasureOf, instant_of, microseconds};

/// Commits that are looked back on for the last one of the metric.
const HISTORY_COMMITS: [usize; 2] = [16, 2_000];
/// Beginnings of the marks' names.
const READ: &str = "colonnade-metric-read-";
const CLOSED: &str = "colonnade-metric-closed-";
const NAMED: &str = "colonnade-metric-named-";
/// Stretches of intervals that are told apart; of more one is made.
const STRETCHES_MAX: usize = 64;

/// The names of the marks of a metric.
pub(super) struct Marks {
    read: String,
    closed: String,
    /// That of the metric's name alone.
    named: String,
}

/// What a run computes.
#[derive(Debug)]
pub(super) enum Reach {
    /// Nothing: no row came after this version.
    Nothing(Version),
    /// The intervals in these stretches.
    Some(Since),
    /// All, and why.
    All(String),
}

/// Intervals that are computed anew.
#[derive(Debug, PartialEq)]
pub(super) struct Since {
    /// The version up to which rows were read before.
    pub(super) version: Version,
    /// In order and apart: the first instant of each, and the first behind it.
    pub(super) stretches: Vec<(i64, i64)>,
}

impl Marks {
    pub(super) fn of(ctx: &RunContext, params: &Params) -> Result<Self> {
        let asked = Params { full: false, ..params.clone() };
        let digest = parameters::digest(&(asked, ctx.identity_of(&params.dataset)?))?;
        let named = parameters::digest(&params.metric())?;
        Ok(Self {
            read: format!("{READ}{digest}"),
            closed: format!("{CLOSED}{digest}"),
            named: format!("{NAMED}{named}"),
        })
    }

    /// As a commit keeps them.
    pub(super) fn kept(&self, version: Version, closed_us: i64) -> Vec<(String, i64)> {
        let version = i64::try_from(version.0).unwrap_or(i64::MAX);
        let (read, closed) = (self.read.clone(), self.closed.clone());
        vec![(read, version), (closed, closed_us), (self.named.clone(), 1)]
    }

    /// The same of a commit that took all of its values away.
    pub(super) fn emptied(&self) -> Vec<(String, i64)> {
        vec![(self.named.clone(), 0)]
    }

    /// Whether the values that are there are of a version that is as new as what the run reads, or newer.
    pub(super) async fn are_of_newer(&self, ctx: &RunContext, params: &Params) -> Result<bool> {
        let to = ctx.input(&params.dataset)?.version;
        let last = last(ctx, params, self).await?;
        Ok(last.is_some_and(|(version, found)| found.is_ok() && version >= to))
    }

    /// What a commit of this metric kept; `None` where it is of another. An error says why it counts no more.
    fn found(&self, commit: &CommitRecord) -> Option<Result<(Version, i64), String>> {
        let number = |name: &String| commit.numbers.get(name).copied();
        if let (Some(read), Some(closed)) = (number(&self.read), number(&self.closed)) {
            return Some(Ok((Version(u64::try_from(read).ok()?), closed)));
        }
        if let Some(has_values) = number(&self.named) {
            let version = commit.version;
            let says = match has_values {
                0 => format!("version {version} of it has none of its values"),
                _ => {
                    format!("version {version} of it has values of this metric by other parameters")
                }
            };
            return Some(Err(says));
        }
        let is_metric =
            commit.numbers.keys().any(|name| name.starts_with(READ) || name.starts_with(NAMED));
        match is_still(commit) || is_metric {
            true => None,
            false => Some(Err(format!(
                "version {} of it is no metric's ({})",
                commit.version, commit.operation
            ))),
        }
    }
}

/// What is to be computed. `closed_us`: the first instant whose interval is not over.
pub(super) async fn reach(
    ctx: &RunContext,
    params: &Params,
    time_column: &str,
    measure: &MeasureOf<'_>,
    closed_us: i64,
) -> Result<Reach> {
    if params.full {
        return Ok(Reach::All("`full` is asked for".to_owned()));
    }
    let marks = Marks::of(ctx, params)?;
    let Some((version, before_us)) = last(ctx, params, &marks).await? else {
        let says = format!("{} has no values of an earlier run of these parameters", params.output);
        return Ok(Reach::All(says));
    };
    let (version, before_us) = match (version, before_us) {
        (version, Ok(before_us)) => (version, before_us),
        (_, Err(why)) => return Ok(Reach::All(why)),
    };
    let to = ctx.input(&params.dataset)?.version;
    if version >= to {
        return Ok(Reach::Nothing(version));
    }
    if before_us > closed_us {
        return Ok(Reach::All("intervals that were over are not any more".to_owned()));
    }
    let changes = match ctx.engine().changes(ctx.principal(), &params.dataset, version, to).await {
        Err(error) if error.code() == Code::NotFound => {
            return Ok(Reach::All(format!("version {version} of {} is gone", params.dataset)));
        }
        changes => changes?,
    };
    if !begins(ctx, changes.removed, time_column, measure).await?.is_empty() {
        let says = format!("rows of {} went or changed after version {version}", params.dataset);
        return Ok(Reach::All(says));
    }
    let came = begins(ctx, changes.added, time_column, measure).await?;
    if came.is_empty() {
        return Ok(Reach::Nothing(version));
    }
    let stretches = stretches(&came, (before_us, closed_us), |begin| measure.end(begin));
    Ok(Reach::Some(Since { version, stretches }))
}

type Last = (Version, std::result::Result<i64, String>);

async fn last(ctx: &RunContext, params: &Params, marks: &Marks) -> Result<Option<Last>> {
    for commits in HISTORY_COMMITS {
        let history = ctx.history(&params.output, commits).await?;
        match history.iter().find_map(|commit| marks.found(commit)) {
            Some(Ok((version, closed))) => return Ok(Some((version, Ok(closed)))),
            Some(Err(why)) => return Ok(Some((Version(0), Err(why)))),
            None if history.len() < commits => return Ok(None),
            None => {}
        }
    }
    Ok(None)
}

/// The intervals of rows; of very many the first and the last. Rows without an instant are none.
async fn begins(
    ctx: &RunContext,
    rows: DataFrame,
    time_column: &str,
    measure: &MeasureOf<'_>,
) -> Result<BTreeSet<i64>> {
    let at = cast(ident(time_column), microseconds());
    let begin = measure.begin_of(at.clone()).alias(AT);
    let distinct = rows.filter(at.is_not_null())?.select(vec![begin])?.distinct()?;
    let mut found = BTreeSet::new();
    let mut rows = ctx.session().stream(distinct).await?;
    while let Some(batch) = rows.next().await.transpose()? {
        ctx.check()?;
        let begins = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        found.extend(begins.iter().flatten());
        if found.len() > INTERVALS_MAX
            && let (Some(&first), Some(&last)) = (found.first(), found.last())
        {
            found = [first, last].into();
        }
    }
    Ok(found)
}

/// Intervals that are kept apart while they are looked for.
const INTERVALS_MAX: usize = 100_000;

/// The intervals that rows came to and those that are over `since`, as far as they are over now, in stretches.
pub(super) fn stretches(
    came: &BTreeSet<i64>,
    (before_us, closed_us): (i64, i64),
    end: impl Fn(i64) -> i64,
) -> Vec<(i64, i64)> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    let of = |begin: i64| (begin, end(begin).min(closed_us));
    let early = came.range(..before_us.min(closed_us)).map(|begin| of(*begin));
    let over = (before_us < closed_us).then_some((before_us, closed_us));
    for (from, to) in early.chain(over) {
        match all.last_mut() {
            Some(last) if last.1 >= from => last.1 = to.max(last.1),
            _ => all.push((from, to)),
        }
    }
    if all.len() > STRETCHES_MAX
        && let (Some(first), Some(last)) = (all.first(), all.last())
    {
        all = vec![(first.0, last.1)];
    }
    all
}

/// Whether an instant lies in one of `stretches`.
pub(super) fn within(at: &Expr, stretches: &[(i64, i64)]) -> Option<Expr> {
    let one = |(from, to): &(i64, i64)| {
        at.clone().gt_eq(instant_of(*from)).and(at.clone().lt(instant_of(*to)))
    };
    stretches.iter().map(one).reduce(Expr::or)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(came: &[i64], before: i64, closed: i64) -> Vec<(i64, i64)> {
        stretches(&came.iter().copied().collect(), (before, closed), |begin| begin + 10)
    }

    #[test]
    fn stretches_are_what_rows_came_to_and_what_is_over_now() {
        // Rows came to intervals that were over, next to each other or not.
        assert_eq!(of(&[0, 10, 40], 50, 50), [(0, 20), (40, 50)]);
        // Nothing is over that was not, and rows came to what is not over.
        assert!(of(&[50, 60], 50, 50).is_empty());
        // What was not over then is now, whether rows came to it or not.
        assert_eq!(of(&[60], 50, 70), [(50, 70)]);
        assert_eq!(of(&[40, 60], 50, 70), [(40, 70)]);
        assert_eq!(of(&[30, 60], 50, 70), [(30, 40), (50, 70)]);
        assert!(of(&[], 50, 50).is_empty());
    }

    #[test]
    fn of_too_many_stretches_one_is_made() {
        let apart: Vec<i64> = (0..STRETCHES_MAX as i64).map(|at| at * 20).collect();
        assert_eq!(of(&apart, 100_000, 100_000).len(), STRETCHES_MAX);
        let more: Vec<i64> = (0..=STRETCHES_MAX as i64).map(|at| at * 20).collect();
        assert_eq!(of(&more, 100_000, 100_000), [(0, STRETCHES_MAX as i64 * 20 + 10)]);
    }
}
