//! Moments and extremes of windows whose size changes from sample to sample.
//!
//! ```text
//!   samples   │ leaving …        middle │ …        entering │
//!              ├ back[leaving] ────────┤├───── front ──────┤
//! ```
//! `back[i]` is of the samples from i to the middle, `front` of those from there on; a window is one of each. A sample
//! that enters is merged into the front. When the back is used up, it is made anew from the last sample to the first, so
//! that each sample is merged three times in all (the queue of two stacks; Tangwongsan, Hirzel & Schneider, "Low-Latency
//! Sliding-Window Aggregation in Worst-Case Constant Time", 2017, §2). Nothing is ever subtracted.

use super::Statistic;
use super::cpu::Stretch;
use crate::element::Element;

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    back: Vec<Part>,
}

impl Scratch {
    /// What the buffers for stretches of `length` samples take.
    pub(super) fn bytes(length: usize) -> usize {
        length * size_of::<Part>()
    }

    /// Fills the outputs that are moments and extremes.
    pub(super) fn run<T: Element>(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        least: usize,
        statistics: &[Statistic],
    ) {
        if !statistics.iter().any(|statistic| is_merged(*statistic)) {
            return;
        }
        for stretch in group {
            self.slide(stretch, least as f64, statistics);
        }
    }

    fn slide<T: Element>(
        &mut self,
        stretch: &mut Stretch<'_, '_, T>,
        least: f64,
        statistics: &[Statistic],
    ) {
        let samples = stretch.samples;
        self.back.resize(samples.len().max(self.back.len()), Part::NONE);
        let mut bounds = stretch.bounds();
        let (mut middle, mut entering, mut front) = (0, 0, Part::NONE);
        for step in 0..stretch.len {
            let (start, end) = bounds.at(step);
            for sample in &samples[entering..end] {
                front = front.merged(&Part::of(sample.to_f64()));
            }
            entering = end;
            if start >= middle {
                let mut part = Part::NONE;
                for index in (start..end).rev() {
                    part = Part::of(samples[index].to_f64()).merged(&part);
                    self.back[index] = part;
                }
                (middle, front) = (end, Part::NONE);
            }
            let window = if start < middle { self.back[start].merged(&front) } else { front };
            for (statistic, out) in statistics.iter().zip(&mut stretch.outputs) {
                let result = match statistic {
                    Statistic::Mean => window.mean,
                    Statistic::Std if window.count < 2.0 => f64::NAN,
                    Statistic::Std => (window.squares / (window.count - 1.0)).sqrt(),
                    Statistic::Min => window.low,
                    Statistic::Max => window.high,
                    _ => continue,
                };
                out[step] = T::from_f64(if window.count >= least { result } else { f64::NAN });
            }
        }
    }
}

fn is_merged(statistic: Statistic) -> bool {
    matches!(statistic, Statistic::Mean | Statistic::Std | Statistic::Min | Statistic::Max)
}

/// What is known of some samples.
#[derive(Debug, Clone, Copy)]
struct Part {
    count: f64,
    mean: f64,
    /// Σ(x − mean)².
    squares: f64,
    low: f64,
    high: f64,
}

impl Part {
    const NONE: Self =
        Self { count: 0.0, mean: 0.0, squares: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY };

    #[inline(always)]
    fn of(value: f64) -> Self {
        if value.is_finite() {
            Self { count: 1.0, mean: value, squares: 0.0, low: value, high: value }
        } else {
            Self::NONE
        }
    }

    /// Chan, Golub & LeVeque (1983), eq. 2.1.
    #[inline(always)]
    fn merged(&self, other: &Self) -> Self {
        if other.count == 0.0 {
            return *self;
        }
        if self.count == 0.0 {
            return *other;
        }
        let count = self.count + other.count;
        let (own, others) = (self.count / count, other.count / count);
        let between = other.mean - self.mean;
        Self {
            count,
            // Not mean + between · share: two means of opposite sign may be too far apart.
            mean: self.mean * own + other.mean * others,
            squares: self.squares + other.squares + between * between * (own * other.count),
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }
}
