//! Where centres begin, and what is random.

use rayon::prelude::*;

use super::distance::squared;
use super::{NONE, OPERATION, SEGMENT};
use crate::element::Element;
use crate::error::Result;
use crate::execution::Execution;
use crate::random::Random;
use crate::simd::{Work, vectorised};
use crate::view::MatrixView;

/// What [`Random::different`] takes for each number it draws: the list, and a set at most half full.
pub(super) const DRAW_BYTES: usize = size_of::<usize>() + 4 * (size_of::<usize>() + 1);

/// The rows that are not left out, by their rank.
pub(super) struct Usable<'a> {
    labels: &'a [u32],
    /// Usable rows before each segment, and in all.
    before: Vec<usize>,
}

impl<'a> Usable<'a> {
    pub(super) fn new(labels: &'a [u32]) -> Self {
        let mut before = Vec::with_capacity(labels.len().div_ceil(SEGMENT) + 1);
        let mut count = 0;
        before.push(0);
        for segment in labels.chunks(SEGMENT) {
            count += segment.iter().filter(|&&label| label != NONE).count();
            before.push(count);
        }
        Self { labels, before }
    }

    pub(super) fn len(&self) -> usize {
        self.before.last().copied().unwrap_or(0)
    }

    /// The row of a rank below `len`.
    pub(super) fn row(&self, rank: usize) -> usize {
        if self.len() == self.labels.len() {
            return rank;
        }
        let segment = self.before.partition_point(|&before| before <= rank).saturating_sub(1);
        let first = segment * SEGMENT;
        let within = rank - self.before[segment];
        let usable = self.labels[first..].iter().enumerate().filter(|&(_, &label)| label != NONE);
        usable.map(|(offset, _)| first + offset).nth(within).unwrap_or(first)
    }
}

/// `clusters` random rows as centres.
pub(super) fn sampled<T: Element>(
    x: MatrixView<'_, T>,
    usable: &Usable<'_>,
    random: &mut Random,
    centres: &mut [f64],
) {
    let rows = random.different(centres.len() / x.cols(), usable.len());
    for (centre, row) in centres.chunks_exact_mut(x.cols()).zip(rows) {
        copy(x.row(usable.row(row)), centre);
    }
}

/// Rows that are far from each other as centres. `distances` is for every row's distance from the nearest so far.
pub(super) fn plus_plus<T: Element>(
    x: MatrixView<'_, T>,
    usable: &Usable<'_>,
    random: &mut Random,
    centres: &mut [f64],
    distances: &mut [f64],
    execution: &Execution,
) -> Result<()> {
    distances.fill(f64::INFINITY);
    let mut sums = vec![0.0; distances.len().div_ceil(SEGMENT)];
    let mut next = usable.row(random.below(usable.len()));
    for centre in centres.chunks_exact_mut(x.cols()) {
        execution.control.check(OPERATION)?;
        copy(x.row(next), centre);
        lower(x, usable.labels, centre, distances, &mut sums, execution)?;
        next = draw(&sums, distances, random)
            .unwrap_or_else(|| usable.row(random.below(usable.len())));
        execution.control.advance(1);
    }
    Ok(())
}

/// A row, with a chance proportional to its distance. `sums` holds the sum of each segment. None where all are 0.
fn draw(sums: &[f64], distances: &[f64], random: &mut Random) -> Option<usize> {
    let mut left = random.uniform() * sums.iter().sum::<f64>();
    let last = sums.iter().rposition(|&sum| sum > 0.0)?;
    let mut segment = 0;
    while segment < last && left >= sums[segment] {
        left -= sums[segment];
        segment += 1;
    }
    let first = segment * SEGMENT;
    let mut found = None;
    for (offset, &distance) in distances[first..].iter().take(SEGMENT).enumerate() {
        if distance > 0.0 {
            found = Some(first + offset);
            if left < distance {
                break;
            }
            left -= distance;
        }
    }
    found
}

fn copy<T: Element>(row: &[T], centre: &mut [f64]) {
    for (centre, value) in centre.iter_mut().zip(row) {
        *centre = value.to_f64();
    }
}

/// Lowers every row's distance to that from `centre`, and sums them by segment. Rows without a label have 0.
fn lower<T: Element>(
    x: MatrixView<'_, T>,
    labels: &[u32],
    centre: &[f64],
    distances: &mut [f64],
    sums: &mut [f64],
    execution: &Execution,
) -> Result<()> {
    let segments = distances.par_chunks_mut(SEGMENT).zip(labels.par_chunks(SEGMENT));
    let sums = sums.par_iter_mut().zip(segments).enumerate();
    sums.try_for_each(|(segment, (sum, (distances, labels)))| {
        execution.control.check(OPERATION)?;
        let first = segment * SEGMENT;
        *sum = vectorised(Lower { x, first, labels, centre, distances });
        Ok(())
    })
}

struct Lower<'a, T> {
    x: MatrixView<'a, T>,
    first: usize,
    labels: &'a [u32],
    centre: &'a [f64],
    distances: &'a mut [f64],
}

impl<T: Element> Work for Lower<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        let mut sum = 0.0;
        let rows = self.distances.iter_mut().zip(self.labels).enumerate();
        for (offset, (distance, &label)) in rows {
            let from = if label == NONE {
                0.0
            } else {
                squared(self.x.row(self.first + offset), self.centre)
            };
            *distance = if from < *distance { from } else { *distance };
            sum += *distance;
        }
        sum
    }
}
