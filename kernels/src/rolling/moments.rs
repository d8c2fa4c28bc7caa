//! The standard deviation from parts of windows that are merged.
//!
//! ```text
//!   samples   │ block of one window │ block of one window │
//!   window o        ├── tail ───────┼─ head ───┤
//! ```
//! Going backwards through a block gives the sums of every tail, going forwards through the next one those of
//! every head; a window is one of each (van Herk, "A fast algorithm for local minimum and maximum filters",
//! 1992, does so with minima). No sum is ever made smaller again.
//!
//! The sums are of distances from a base that is itself a member: the last value of a tail, the first of a head.
//! With base b, mean m and M = Σ(x − m)²: Σ(x − b)² = M + n(b − m)² ≤ (n + 1)·M, because M holds (b − m)².
//! So at most the factor n + 1 is lost when M is taken from the sums, whatever the offset of the series. The two
//! parts are merged with Chan's formula.

use super::cpu::Stretch;
use super::{Statistic, Window};
use crate::element::Element;
use crate::simd::{Work, vectorised};

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    tails: Sums,
    heads: Sums,
    values: Vec<f64>,
    shares: Shares,
}

/// What counts divide by where no value of two blocks is missing: divisions take most of the time otherwise.
#[derive(Default)]
struct Shares {
    /// At i: 1 / (size − i), of a tail.
    tail: Vec<f64>,
    /// At i: 1 / i, of a head, but 0 of none.
    head: Vec<f64>,
    /// At i: i·(size − i) / size.
    both: Vec<f64>,
}

impl Shares {
    fn resize(&mut self, size: usize) {
        if self.tail.len() != size {
            let count = |at: usize| at as f64;
            self.tail = (0..size).map(|at| 1.0 / count(size - at)).collect();
            self.head = (0..size).map(|at| if at == 0 { 0.0 } else { 1.0 / count(at) }).collect();
            self.both = (0..size).map(|at| count(at) * count(size - at) / count(size)).collect();
        }
    }
}

impl Scratch {
    /// What the buffers for a window of `size` samples take.
    pub(super) fn bytes(size: usize) -> usize {
        10 * size * size_of::<f64>()
    }

    /// Fills the outputs that are moments.
    pub(super) fn run<T: Element>(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        window: &Window<'_>,
        statistics: &[Statistic],
    ) {
        if statistics.contains(&Statistic::Std) {
            self.values.resize(window.size, f64::NAN);
            self.tails.resize(window.size);
            self.heads.resize(window.size);
            self.shares.resize(window.size);
            for stretch in group {
                vectorised(Slide { scratch: self, stretch, window, statistics });
            }
        }
    }
}

struct Slide<'s, 'g, 'a, 'o, T> {
    scratch: &'s mut Scratch,
    stretch: &'g mut Stretch<'a, 'o, T>,
    window: &'s Window<'s>,
    statistics: &'s [Statistic],
}

impl<T: Element> Work for Slide<'_, '_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { scratch, stretch, window, statistics } = self;
        let Scratch { tails, heads, values, shares } = scratch;
        for start in (0..stretch.len).step_by(window.size) {
            load(values, stretch, start);
            tails.backwards(values);
            load(values, stretch, start + window.size);
            heads.forwards(values);
            let end = (start + window.size).min(stretch.len);
            for (statistic, out) in statistics.iter().zip(&mut stretch.outputs) {
                if *statistic == Statistic::Std {
                    let (out, count) = (&mut out[start..end], end - start);
                    let is_whole = tails.count[0] as usize == window.size
                        && heads.count[count - 1] as usize == count - 1;
                    if is_whole && window.size >= window.least.max(2) {
                        whole_deviations(tails, heads, shares, out);
                    } else {
                        deviations(tails, heads, window.least, out);
                    }
                }
            }
        }
    }
}

/// The samples that windows `start` and later begin with; NaN where there is none.
#[inline(always)]
fn load<T: Element>(values: &mut [f64], stretch: &Stretch<'_, '_, T>, start: usize) {
    let first = stretch.offset + start as isize;
    let before = (first.min(0).unsigned_abs()).min(values.len());
    let (missing, there) = values.split_at_mut(before);
    missing.fill(f64::NAN);
    let samples = stretch.samples.get(first.max(0) as usize..).unwrap_or_default();
    let count = samples.len().min(there.len());
    for (value, sample) in there.iter_mut().zip(samples) {
        *value = sample.to_f64();
    }
    there[count..].fill(f64::NAN);
}

/// Count, sum and sum of squares of the distances from a base, for every part of a block.
#[derive(Default)]
struct Sums {
    base: f64,
    count: Vec<f64>,
    sum: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn resize(&mut self, size: usize) {
        self.count.resize(size, 0.0);
        self.sum.resize(size, 0.0);
        self.squares.resize(size, 0.0);
    }

    /// At i: of `values[i..]`.
    #[inline(always)]
    fn backwards(&mut self, values: &[f64]) {
        self.base = values.iter().rev().copied().find(|value| value.is_finite()).unwrap_or(0.0);
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let slots = self.count.iter_mut().zip(&mut self.sum).zip(&mut self.squares);
        for (((c, s), q), &value) in slots.zip(values).rev() {
            let distance = if value.is_finite() { value - self.base } else { 0.0 };
            count += if value.is_finite() { 1.0 } else { 0.0 };
            sum += distance;
            squares += distance * distance;
            (*c, *s, *q) = (count, sum, squares);
        }
    }

    /// At i: of `values[..i]`.
    #[inline(always)]
    fn forwards(&mut self, values: &[f64]) {
        self.base = values.iter().copied().find(|value| value.is_finite()).unwrap_or(0.0);
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        let slots = self.count.iter_mut().zip(&mut self.sum).zip(&mut self.squares);
        for (((c, s), q), &value) in slots.zip(values) {
            (*c, *s, *q) = (count, sum, squares);
            let distance = if value.is_finite() { value - self.base } else { 0.0 };
            count += if value.is_finite() { 1.0 } else { 0.0 };
            sum += distance;
            squares += distance * distance;
        }
    }
}

#[inline(always)]
fn deviations<T: Element>(tails: &Sums, heads: &Sums, least: usize, out: &mut [T]) {
    let size = out.len();
    let (tail_count, tail_sum) = (&tails.count[..size], &tails.sum[..size]);
    let (head_count, head_sum) = (&heads.count[..size], &heads.sum[..size]);
    let (tail_squares, head_squares) = (&tails.squares[..size], &heads.squares[..size]);
    let least = least as f64;
    for at in 0..size {
        let (n, m) = (tail_count[at], head_count[at]);
        let tail_mean = tail_sum[at] / n.max(1.0);
        let head_mean = head_sum[at] / m.max(1.0);
        let tail = (tail_squares[at] - tail_sum[at] * tail_mean).max(0.0);
        let head = (head_squares[at] - head_sum[at] * head_mean).max(0.0);
        let both = n > 0.0 && m > 0.0;
        let between = if both { (heads.base - tails.base) + (head_mean - tail_mean) } else { 0.0 };
        let squares = tail + head + between * between * (n * m / (n + m).max(1.0));
        let deviation = (squares / (n + m - 1.0).max(1.0)).sqrt();
        let there = n + m >= least && n + m > 1.0;
        out[at] = T::from_f64(if there { deviation } else { f64::NAN });
    }
}

/// The same where every value is there.
#[inline(always)]
fn whole_deviations<T: Element>(tails: &Sums, heads: &Sums, shares: &Shares, out: &mut [T]) {
    let size = out.len();
    let degrees = 1.0 / (shares.tail.len() as f64 - 1.0);
    let (tail_share, head_share) = (&shares.tail[..size], &shares.head[..size]);
    let (tail_sum, head_sum) = (&tails.sum[..size], &heads.sum[..size]);
    let (tail_squares, head_squares) = (&tails.squares[..size], &heads.squares[..size]);
    let both = &shares.both[..size];
    for at in 0..size {
        let tail_mean = tail_sum[at] * tail_share[at];
        let head_mean = head_sum[at] * head_share[at];
        let tail = (tail_squares[at] - tail_sum[at] * tail_mean).max(0.0);
        let head = (head_squares[at] - head_sum[at] * head_mean).max(0.0);
        // The base of an empty head is a value that is not in the window.
        let between = (heads.base - tails.base) + (head_mean - tail_mean);
        let between = if both[at] > 0.0 { between } else { 0.0 };
        let squares = tail + head + between * between * both[at];
        out[at] = T::from_f64((squares * degrees).sqrt());
    }
}
