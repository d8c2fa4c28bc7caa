//! What lies behind a pair that is reported: a third series that explains it, or a time in which it was so and is no more.
//!
//! Of each cohort the strongest pairs are asked, each given those series that move with both of it most. Rows are aligned first: a pair
//! by its best lag, a third series by its best lag to the first of the pair, where that is known.
//!
//! Cost: O(pairs asked · candidates · buckets).

use std::collections::HashMap;

use analysis::association::origin::{self, Verdict};
use analysis::association::stability::{self, Course};
use rayon::prelude::*;

use super::pairs::Subjects;

/// What a pair is that another series explains, as it stands in rows.
pub(super) const EXPLAINED: &str = "explained";

/// Pairs of a cohort that are asked, the strongest first.
const PAIRS_MAX: usize = 2_000;
/// Third series of each.
const CANDIDATES_MAX: usize = 12;

/// Pairs that move together, with coefficient and lag: by both rows, the lesser first.
pub(super) type Links = HashMap<(usize, usize), (f64, i64)>;

/// What is behind a pair.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Behind {
    /// direct, explained or undecided.
    pub(super) origin: &'static str,
    /// The row that explains most of it, and the coefficient that remains given that.
    pub(super) given: Option<(usize, Option<f64>)>,
    /// steady, breaks or wavers; none where there are too few samples to tell.
    pub(super) course: Option<&'static str>,
    /// Of one that breaks the bucket from which on it is another, and the coefficients before and after.
    pub(super) breaks: Option<(usize, [f64; 2])>,
}

/// Asks the strongest of `links` what is behind them.
pub(super) fn behind(
    subjects: &Subjects,
    links: &Links,
    pool: &rayon::ThreadPool,
) -> HashMap<(usize, usize), Behind> {
    let mut near: HashMap<usize, Vec<usize>> = HashMap::new();
    for &(a, b) in links.keys() {
        near.entry(a).or_default().push(b);
        near.entry(b).or_default().push(a);
    }
    let mut asked: Vec<(usize, usize)> = links.keys().copied().collect();
    let strength = |pair: &(usize, usize)| links.get(pair).map_or(0.0, |(r, _)| r.abs());
    asked.sort_by(|a, b| strength(b).total_cmp(&strength(a)).then_with(|| a.cmp(b)));
    asked.truncate(PAIRS_MAX);
    let of = |&(a, b): &(usize, usize)| {
        let lag = links.get(&(a, b)).map_or(0, |(_, lag)| *lag);
        let thirds = thirds(links, &near, a, b);
        Some(((a, b), one(subjects, links, (a, b, lag), &thirds)?))
    };
    pool.install(|| asked.par_iter().filter_map(of).collect())
}

fn link(links: &Links, a: usize, b: usize) -> Option<(f64, i64)> {
    match a < b {
        true => links.get(&(a, b)).copied(),
        false => links.get(&(b, a)).map(|(r, lag)| (*r, -lag)),
    }
}

/// The series that move with both, those first that do so most.
fn thirds(links: &Links, near: &HashMap<usize, Vec<usize>>, a: usize, b: usize) -> Vec<usize> {
    let with_both = |&third: &usize| {
        let ((of_a, _), (of_b, _)) = (link(links, a, third)?, link(links, b, third)?);
        Some((third, of_a.abs().min(of_b.abs())))
    };
    let mut found: Vec<(usize, f64)> = near
        .get(&a)
        .into_iter()
        .flatten()
        .filter(|third| **third != b)
        .filter_map(with_both)
        .collect();
    found.sort_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
    found.truncate(CANDIDATES_MAX);
    found.into_iter().map(|(third, _)| third).collect()
}

fn one(
    subjects: &Subjects,
    links: &Links,
    (a, b, lag): (usize, usize, i64),
    thirds: &[usize],
) -> Option<Behind> {
    let x = aligned(subjects, a, 0);
    let y = aligned(subjects, b, lag);
    let candidates: Vec<Vec<f64>> = thirds
        .iter()
        .map(|&third| aligned(subjects, third, link(links, a, third).map_or(0, |(_, lag)| lag)))
        .collect();
    let rows: Vec<&[f64]> = candidates.iter().map(Vec::as_slice).collect();
    let told = origin::origin(&x, &y, &rows, &origin::Options::default()).ok()?;
    let third = told.third.and_then(|third| {
        let remains = third.partial.map(|partial| partial.rest.r);
        thirds.get(third.candidate).map(|row| (*row, remains))
    });
    let is_alone = thirds.is_empty();
    let origin = match told.verdict {
        Verdict::Direct => "direct",
        Verdict::Explained => EXPLAINED,
        // Nothing else moves with both.
        Verdict::Undecided(_) if is_alone => "direct",
        Verdict::Undecided(_) => "undecided",
    };
    let course = stability::stability(&x, &y, &stability::Options::default()).ok();
    let breaks = course.as_ref().filter(|of| of.course == Course::Breaks).and_then(|of| {
        let split = of.split?;
        Some((split.at, [split.before.r, split.after.r]))
    });
    let course = course.map(|of| match of.course {
        Course::Steady => "steady",
        Course::Breaks => "breaks",
        Course::Wavers => "wavers",
    });
    Some(Behind { origin, given: third, course, breaks })
}

/// A row that many buckets later, NaN where there is no sample.
fn aligned(subjects: &Subjects, row: usize, lag: i64) -> Vec<f64> {
    subjects.aligned(row, lag).map(|value| value.unwrap_or(f64::NAN)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_pair_is_the_other_way_round_from_its_second_row() {
        let links: Links = [((1, 4), (-0.5, 3))].into();
        assert_eq!(link(&links, 1, 4), Some((-0.5, 3)));
        assert_eq!(link(&links, 4, 1), Some((-0.5, -3)));
        assert_eq!(link(&links, 1, 2), None);
    }
}
