//! Mean, minimum and maximum from spans whose length doubles.
//!
//! ```text
//!   span 1     x0    x1    x2    x3    x4    x5 …
//!   span 2     x0‥1  x1‥2  x2‥3  x3‥4  x4‥5     …    s₂[i] = s₁[i] + s₁[i + 1]
//!   span 4     x0‥3  x1‥4  x2‥5  …                   s₄[i] = s₂[i] + s₂[i + 2]
//!   window 5   x0‥4  x1‥5  …                         s₁[i] + s₄[i + 1]
//! ```
//! A sum over a window is put together from the spans of its length's binary digits, a minimum from two spans that
//! overlap. Every step is the same operation on neighbours, without a chain from one sample to the next, and so runs on
//! whole vectors: log₂ w such steps are fewer instructions than a running sum's one. A result depends on the
//! values of its own window and on nothing else, and is a pairwise sum: its error grows with log w.
//!
//! Compare the sparse table of Bender & Farach-Colton, "The LCA Problem Revisited" (2000), of which only the
//! last level is kept.

use super::cpu::Stretch;
use super::{Statistic, Window};
use crate::element::Element;
use crate::simd::{Work, vectorised};

/// Windows that are computed together, at least: their samples stay in the first-level cache.
const LEAST_CHUNK: usize = 1024;

/// The buffers of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    spans: Vec<f64>,
    longer: Vec<f64>,
    totals: Vec<f64>,
    /// Values that are there before each sample, in samples of the chunk.
    present: Vec<u32>,
}

impl Scratch {
    /// What the buffers for a window of `size` samples take.
    pub(super) fn bytes(size: usize) -> usize {
        let chunk = chunk_of(size);
        2 * (chunk + size) * size_of::<f64>()
            + chunk * size_of::<f64>()
            + (chunk + size + 1) * size_of::<u32>()
    }

    /// Fills the outputs that are means, minima and maxima.
    pub(super) fn run<T: Element>(
        &mut self,
        group: &mut [Stretch<'_, '_, T>],
        window: &Window<'_>,
        statistics: &[Statistic],
    ) {
        if !statistics.iter().any(|statistic| is_span(*statistic)) {
            return;
        }
        let chunk = chunk_of(window.size);
        self.spans.resize(chunk + window.size, 0.0);
        self.longer.resize(chunk + window.size, 0.0);
        self.totals.resize(chunk, 0.0);
        self.present.resize(chunk + window.size + 1, 0);
        for stretch in group {
            vectorised(Slide { scratch: self, stretch, window, statistics });
        }
    }
}

/// Windows that are computed together. Those of a long window share more of their samples.
fn chunk_of(size: usize) -> usize {
    LEAST_CHUNK.max(size.saturating_mul(4))
}

fn is_span(statistic: Statistic) -> bool {
    matches!(statistic, Statistic::Mean | Statistic::Min | Statistic::Max)
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
        for start in (0..stretch.len).step_by(scratch.totals.len()) {
            let count = scratch.totals.len().min(stretch.len - start);
            let covered = Covered::new(stretch, start, count + window.size - 1);
            let whole = window.size >= window.least && covered.is_whole;
            if !whole {
                covered.count(&mut scratch.present);
            }
            for (statistic, out) in statistics.iter().zip(&mut stretch.outputs) {
                let out = &mut out[start..start + count];
                match statistic {
                    Statistic::Mean => scratch.reduce::<T, Sum>(&covered, window, whole, out),
                    Statistic::Min => scratch.reduce::<T, Least>(&covered, window, whole, out),
                    Statistic::Max => scratch.reduce::<T, Most>(&covered, window, whole, out),
                    Statistic::Std
                    | Statistic::Median
                    | Statistic::Mad
                    | Statistic::Quantile(_)
                    | Statistic::Rank => {}
                }
            }
        }
    }
}

/// The samples that the windows of a chunk reach: `before` that are not there, those that are, and again some that
/// are not, `len` in all.
struct Covered<'a, T> {
    before: usize,
    samples: &'a [T],
    len: usize,
    /// Every sample is there.
    is_whole: bool,
    /// The largest magnitude.
    largest: f64,
}

impl<'a, T: Element> Covered<'a, T> {
    #[inline(always)]
    fn new(stretch: &Stretch<'a, '_, T>, start: usize, len: usize) -> Self {
        let first = stretch.offset + start as isize;
        let before = first.min(0).unsigned_abs().min(len);
        let samples = stretch.samples.get(first.max(0) as usize..).unwrap_or_default();
        let samples = &samples[..samples.len().min(len - before)];
        // By their bits: whole numbers have a maximum that the compiler makes of vectors, whatever the order.
        const INFINITE: i64 = 0x7ff0_0000_0000_0000;
        let (mut largest, mut missing) = (0, 0);
        for sample in samples {
            let bits = sample.to_f64().abs().to_bits() as i64;
            let is_missing = bits >= INFINITE;
            missing |= i64::from(is_missing);
            largest = largest.max(if is_missing { 0 } else { bits });
        }
        let is_whole = samples.len() == len && missing == 0;
        Self { before, samples, len, is_whole, largest: f64::from_bits(largest as u64) }
    }

    /// Writes each value, and `none` in the place of one that is missing.
    #[inline(always)]
    fn write(&self, none: f64, scale: f64, values: &mut [f64]) {
        let (before, rest) = values.split_at_mut(self.before);
        let (there, after) = rest.split_at_mut(self.samples.len());
        before.fill(none);
        for (value, sample) in there.iter_mut().zip(self.samples) {
            let sample = sample.to_f64();
            *value = if sample.is_finite() { sample * scale } else { none };
        }
        after.fill(none);
    }

    /// At i: how many of the first i samples have a value.
    #[inline(always)]
    fn count(&self, present: &mut [u32]) {
        let mut count = 0;
        present[..=self.before].fill(0);
        let there = &mut present[self.before + 1..=self.len];
        for (slot, sample) in there.iter_mut().zip(self.samples) {
            count += u32::from(sample.to_f64().is_finite());
            *slot = count;
        }
        there[self.samples.len()..].fill(count);
    }
}

/// An associative operation on the values of a window.
trait Reduce {
    /// What a missing value counts as.
    const NONE: f64;
    /// Whether a value may count twice.
    const REPEATS: bool;

    /// Implementations must be `#[inline(always)]`, see [`Work`].
    fn of(a: f64, b: f64) -> f64;
}

struct Sum;

impl Reduce for Sum {
    const NONE: f64 = 0.0;
    const REPEATS: bool = false;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        a + b
    }
}

struct Least;

impl Reduce for Least {
    const NONE: f64 = f64::INFINITY;
    const REPEATS: bool = true;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        if b < a { b } else { a }
    }
}

struct Most;

impl Reduce for Most {
    const NONE: f64 = f64::NEG_INFINITY;
    const REPEATS: bool = true;

    #[inline(always)]
    fn of(a: f64, b: f64) -> f64 {
        if b > a { b } else { a }
    }
}

impl Scratch {
    #[inline(always)]
    fn reduce<T: Element, R: Reduce>(
        &mut self,
        covered: &Covered<'_, T>,
        window: &Window<'_>,
        whole: bool,
        out: &mut [T],
    ) {
        let scale = if R::REPEATS { 1.0 } else { scale_of(covered.largest, window.size) };
        let (spans, longer) = (&mut self.spans[..covered.len], &mut self.longer[..covered.len]);
        let totals = &mut self.totals[..out.len()];
        covered.write(R::NONE, scale, spans);
        windows::<R>(spans, longer, totals, window.size);
        if whole {
            let factor = if R::REPEATS { 1.0 } else { factor_of(window.size as f64, scale) };
            for (out, &total) in out.iter_mut().zip(&*totals) {
                *out = T::from_f64(total * factor);
            }
            return;
        }
        let least = window.least as u32;
        let (first, last) = (&self.present[..out.len()], &self.present[window.size..]);
        for (((out, &total), &first), &last) in out.iter_mut().zip(&*totals).zip(first).zip(last) {
            let count = last - first;
            let factor = if R::REPEATS { 1.0 } else { factor_of(f64::from(count), scale) };
            *out = T::from_f64(if count >= least { total * factor } else { f64::NAN });
        }
    }
}

/// From a sum of scaled values to their mean. A reciprocal once for all whole windows; the others take the same.
#[inline(always)]
fn factor_of(count: f64, scale: f64) -> f64 {
    1.0 / (count * scale)
}

/// A power of two that keeps a sum of `size` values finite; 1 but for extreme ones.
#[inline(always)]
fn scale_of(largest: f64, size: usize) -> f64 {
    let bound = f64::MAX / size.next_power_of_two() as f64;
    if largest <= bound { 1.0 } else { bound / f64::MAX }
}

/// `totals[i]` = of `spans[i..i + size]`. Overwrites `spans` and `longer`, which are as long as each other.
#[inline(always)]
fn windows<'a, R: Reduce>(
    mut spans: &'a mut [f64],
    mut longer: &'a mut [f64],
    totals: &mut [f64],
    size: usize,
) {
    let mut len = spans.len();
    // `spans[i]` is of `span` values from i on; the first `covered` of each window are in its total.
    let (mut span, mut covered) = (1, 0);
    loop {
        if !R::REPEATS && size & span != 0 {
            let part = &spans[covered..covered + totals.len()];
            if covered == 0 {
                totals.copy_from_slice(part);
            } else {
                for (total, &part) in totals.iter_mut().zip(part) {
                    *total = R::of(*total, part);
                }
            }
            covered += span;
        }
        if span > size / 2 {
            break;
        }
        // Two doublings at once where nothing is wanted of the one between: half the loads and stores.
        let skips = span <= size / 4 && (R::REPEATS || size & (2 * span) == 0);
        if skips {
            len -= 3 * span;
            let (a, b) = (&spans[..len], &spans[span..][..len]);
            let (c, d) = (&spans[2 * span..][..len], &spans[3 * span..][..len]);
            for ((((to, &a), &b), &c), &d) in longer[..len].iter_mut().zip(a).zip(b).zip(c).zip(d) {
                *to = R::of(R::of(a, b), R::of(c, d));
            }
            span *= 4;
        } else {
            len -= span;
            let (a, b) = (&spans[..len], &spans[span..][..len]);
            for ((to, &a), &b) in longer[..len].iter_mut().zip(a).zip(b) {
                *to = R::of(a, b);
            }
            span *= 2;
        }
        std::mem::swap(&mut spans, &mut longer);
    }
    if R::REPEATS {
        let (first, last) = (&spans[..totals.len()], &spans[size - span..][..totals.len()]);
        for ((total, &first), &last) in totals.iter_mut().zip(first).zip(last) {
            *total = R::of(first, last);
        }
    }
}
