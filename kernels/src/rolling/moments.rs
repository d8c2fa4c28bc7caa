//! Mean and standard deviation from parts of windows that are merged.
//!
//! ```text
//!   samples   │ block of one window │ block of one window │
//!   window o        ├── suffix ─────┼─ prefix ─┤
//! ```
//! Going backwards through a block gives the moments of every suffix, going forwards through the next one those
//! of every prefix; a window is one of each (van Herk, "A fast algorithm for local minimum and maximum
//! filters", 1992, does so with minima). Each part is built by Welford's recurrence and two are
//! merged with Chan's formula, so that nothing is subtracted from a sum.

use super::cpu::{LANES, Stretch};
use super::{Statistic, Window};
use crate::element::Element;
use crate::simd::{Work, vectorised};

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    suffixes: Vec<Moments>,
}

impl Scratch {
    /// What the buffers for a window of `size` samples take.
    pub(super) fn bytes(size: usize) -> usize {
        (size + 1) * size_of::<Moments>()
    }

    /// Fills the outputs that are moments.
    pub(super) fn run<T: Element>(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        window: &Window,
        statistics: &[Statistic],
    ) {
        if statistics.iter().any(|statistic| matches!(statistic, Statistic::Mean | Statistic::Std))
        {
            vectorised(Slide { scratch: self, group, window, statistics });
        }
    }

    #[inline(always)]
    fn slide<T: Element>(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        window: &Window,
        statistics: &[Statistic],
    ) {
        let size = window.size;
        let longest = group.iter().map(|stretch| stretch.len).max().unwrap_or(0);
        for start in (0..longest).step_by(size) {
            // suffixes[i]: of samples start + i .. start + size.
            self.suffixes.clear();
            self.suffixes.resize(size + 1, Moments::default());
            let mut moments = Moments::default();
            for at in (0..size).rev() {
                moments.add(lanes(group, start + at));
                self.suffixes[at] = moments;
            }
            let mut prefix = Moments::default();
            for within in 0..size.min(longest - start) {
                if within > 0 {
                    prefix.add(lanes(group, start + size + within - 1));
                }
                let merged = self.suffixes[within].merged(&prefix);
                let step = start + within;
                for (lane, stretch) in group.iter_mut().enumerate() {
                    if step < stretch.len {
                        emit(stretch, step, lane, &merged, window, statistics);
                    }
                }
            }
        }
    }
}

struct Slide<'s, 'g, 'a, 'o, T> {
    scratch: &'s mut Scratch,
    group: &'g mut [Stretch<'a, 'o, T>],
    window: &'s Window,
    statistics: &'s [Statistic],
}

impl<T: Element> Work for Slide<'_, '_, '_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.scratch.slide(self.group, self.window, self.statistics);
    }
}

/// The sample of each lane that window `at` begins with; NaN where there is none.
#[inline(always)]
fn lanes<T: Element>(group: &[Stretch<'_, '_, T>], at: usize) -> [f64; LANES] {
    let mut values = [f64::NAN; LANES];
    for (value, stretch) in values.iter_mut().zip(group) {
        let place = at as isize + stretch.offset;
        if place >= 0
            && let Some(sample) = stretch.samples.get(place as usize)
        {
            *value = sample.to_f64();
        }
    }
    values
}

#[inline(always)]
fn emit<T: Element>(
    stretch: &mut Stretch<'_, '_, T>,
    step: usize,
    lane: usize,
    moments: &Moments,
    window: &Window,
    statistics: &[Statistic],
) {
    let enough = moments.count[lane] >= window.least as f64;
    for (out, statistic) in stretch.outputs.iter_mut().zip(statistics) {
        let value = match statistic {
            Statistic::Mean if enough => moments.mean[lane],
            Statistic::Std if enough && moments.count[lane] > 1.0 => {
                (moments.squares[lane] / (moments.count[lane] - 1.0)).sqrt()
            }
            Statistic::Mean | Statistic::Std => f64::NAN,
            Statistic::Median | Statistic::Mad | Statistic::Quantile(_) => continue,
        };
        out[step] = T::from_f64(value);
    }
}

/// Count, mean and centred sum of squares in each lane.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: [f64; LANES],
    mean: [f64; LANES],
    squares: [f64; LANES],
}

impl Moments {
    #[inline(always)]
    fn add(&mut self, values: [f64; LANES]) {
        for (lane, value) in values.into_iter().enumerate() {
            let there = value.is_finite();
            let count = self.count[lane] + 1.0;
            let delta = value - self.mean[lane];
            let mean = self.mean[lane] + delta / count;
            let squares = self.squares[lane] + delta * (value - mean);
            self.count[lane] = if there { count } else { self.count[lane] };
            self.mean[lane] = if there { mean } else { self.mean[lane] };
            self.squares[lane] = if there { squares } else { self.squares[lane] };
        }
    }

    #[inline(always)]
    fn merged(&self, other: &Self) -> Self {
        let mut merged = Self::default();
        for lane in 0..LANES {
            let count = self.count[lane] + other.count[lane];
            let share = other.count[lane] / count.max(1.0);
            let delta = other.mean[lane] - self.mean[lane];
            // An empty part has mean 0, which must not weigh.
            let delta = if self.count[lane] > 0.0 && other.count[lane] > 0.0 { delta } else { 0.0 };
            let base = if self.count[lane] > 0.0 { self.mean[lane] } else { other.mean[lane] };
            merged.count[lane] = count;
            merged.mean[lane] = base + delta * share;
            merged.squares[lane] =
                self.squares[lane] + other.squares[lane] + delta * delta * share * self.count[lane];
        }
        merged
    }
}
