//! The rows that take part, and the space in which they are screened.
//!
//! ```text
//!   base:     z = factor·x − μ     rank part of a score:  w·z + β      β = tilt·z, less ½‖z‖² for a distance
//!   queries:  w = factor·q − ω     rest:                  K            of the query only
//! ```
//! Factors are the reciprocal of the norm under the cosine; else a power of two that brings all norms to 1 or less, so
//! that floats neither overflow nor lose small terms and one absolute slack covers what f64 rounds.
//!
//! **The bound.** An upper bound of the rank part is ŵ·ẑ + β + ‖ŵ‖·‖z − ẑ‖ + ‖w − ŵ‖·‖z‖. [`Facts`] holds the norms,
//! rounded up: 1e-5 of each for their own rounding to float and that of the products; 2⁻²⁰‖z‖ (`rounding`, more where a
//! tensor core sums in float) on ‖z − ẑ‖ for the steps that make a float of ŵ·ẑ; 2⁻²⁰|β| and 1e-30, below which floats
//! flush, on β. A threshold loses 4e-7 of itself to be rounded, and 1e-10 for the f64 sums of norms up to 1.

use std::borrow::Cow;

use super::{Metric, Pairing, Rows, Search, Summary, score};
use crate::element::Element;
use crate::simd::{Work, vectorised};
use crate::stats::{Exclusion, Stats};
use crate::view::MatrixView;

/// Rows whose mean is taken for the centre.
const SAMPLE: usize = 1024;
/// A norm beyond this counts as infinite: squares of sums must stay finite in f64.
const LARGEST_NORM: f64 = 1e140;
/// A norm below this counts as 0 under the cosine.
const SMALLEST_NORM: f64 = 1e-140;

/// Smaller vectors are not scaled up to 1: where squares come near to the least f64, the slack of 1e-10 sends every
/// pair to the f64 score.
const SMALLEST_EXPONENT: f64 = -430.0;

/// One set of vectors: the rows that take part, in ascending order.
pub(super) struct Side<'a, T> {
    pub(super) view: MatrixView<'a, T>,
    /// Their indices.
    pub(super) rows: Cow<'a, [u32]>,
    /// The reciprocals of their norms under the cosine, else 1.
    pub(super) inverses: Cow<'a, [f64]>,
    /// A power of two that brings the largest norm to 1 or less.
    pub(super) gain: f64,
    /// About the mean of the scaled vectors.
    pub(super) centre: Vec<f64>,
}

impl<'a, T: Element> Side<'a, T> {
    pub(super) fn select(
        view: MatrixView<'a, T>,
        allowed: Rows<'_>,
        metric: Metric,
    ) -> (Self, Vec<(usize, Exclusion)>) {
        use rayon::prelude::*;
        let mut rows = allowed.collect(view.rows());
        let measure = |row: &u32| score::squared_norm(view.row(*row as usize)).sqrt();
        let mut norms: Vec<f64> = rows.par_iter().map(measure).collect();
        let exclusion = |norm: f64| {
            if norm.is_nan() || norm > LARGEST_NORM {
                Some(Exclusion::NotFinite)
            } else if metric == Metric::Cosine && norm < SMALLEST_NORM {
                Some(Exclusion::Zero)
            } else {
                None
            }
        };
        let mut excluded = Vec::new();
        let mut kept = 0;
        for at in 0..rows.len() {
            if let Some(reason) = exclusion(norms[at]) {
                excluded.push((rows[at] as usize, reason));
            } else {
                (rows[kept], norms[kept]) = (rows[at], norms[at]);
                kept += 1;
            }
        }
        rows.truncate(kept);
        norms.truncate(kept);
        let largest = norms.iter().copied().fold(0.0, f64::max);
        let (mut inverses, mut gain) = (norms, 1.0);
        if metric == Metric::Cosine {
            inverses.iter_mut().for_each(|value| *value = 1.0 / *value);
        } else {
            inverses.fill(1.0);
            if largest > 0.0 {
                gain = 2f64.powi(-(largest.log2().ceil().max(SMALLEST_EXPONENT) as i32));
            }
        }
        let (rows, inverses) = (Cow::Owned(rows), Cow::Owned(inverses));
        (Self { view, rows, inverses, gain, centre: Vec::new() }, excluded)
    }

    /// What the vector at a position is multiplied with.
    pub(super) fn factor(&self, position: usize) -> f64 {
        self.inverses[position] * self.gain
    }

    /// The vector at a position, as it came in.
    #[inline]
    pub(super) fn vector(&self, position: usize) -> &'a [T] {
        self.view.row(self.rows[position] as usize)
    }

    /// Bytes of the lists.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * size_of::<u32>()
            + (self.inverses.len() + self.centre.len()) * size_of::<f64>()
    }

    pub(super) fn find_centre(&mut self) {
        let mut centre = vec![0.0; self.view.cols()];
        let step = self.rows.len().div_ceil(SAMPLE).max(1);
        let mut count = 0.0;
        for position in (0..self.rows.len()).step_by(step) {
            let factor = self.factor(position);
            for (sum, value) in centre.iter_mut().zip(self.vector(position)) {
                *sum += value.to_f64() * factor;
            }
            count += 1.0;
        }
        if count > 0.0 {
            centre.iter_mut().for_each(|value| *value /= count);
        }
        self.centre = centre;
    }
}

/// Both sets, and the space they meet in.
pub(super) struct Problem<'a, T> {
    pub(super) queries: Side<'a, T>,
    pub(super) base: Side<'a, T>,
    pub(super) metric: Metric,
    pub(super) pairing: Pairing,
    /// What β takes the product with.
    pub(super) tilt: Vec<f64>,
    summary: Summary,
}

impl<'a, T: Element> Problem<'a, T> {
    /// Measures and selects. Where one set is `joined` with itself, the filter holds for both sides.
    pub(super) fn prepare(search: &Search<'a, T>, stats: Stats, joined: bool) -> (Self, Summary) {
        let metric = search.metric;
        let (mut base, excluded_base) = Side::select(search.base, search.allowed, metric);
        let one_list = joined && search.pairing == Pairing::Within;
        let of_queries = if one_list { search.allowed } else { Rows::All };
        let (mut queries, excluded) = Side::select(search.queries, of_queries, metric);
        if metric == Metric::SquaredL2 {
            let gain = base.gain.min(queries.gain);
            (base.gain, queries.gain) = (gain, gain);
        }
        base.find_centre();
        queries.find_centre();
        let mut tilt = queries.centre.clone();
        if metric == Metric::SquaredL2 {
            tilt.iter_mut().zip(&base.centre).for_each(|(tilt, centre)| *tilt -= centre);
        }
        let mut summary = Summary { stats, candidates: base.rows.len(), excluded, excluded_base };
        summary.stats.excluded_rows = match search.pairing {
            Pairing::Within => summary.excluded.len().max(summary.excluded_base.len()),
            Pairing::Between => summary.excluded.len() + summary.excluded_base.len(),
        } as u64;
        let pairing = search.pairing;
        (Self { queries, base, metric, pairing, tilt, summary: summary.clone() }, summary)
    }

    /// Queries for a base that was measured before, with what was left out of it: its centre stays, and the
    /// queries' is 0, so that [`steady_tilt`] is the tilt whatever they are. None where they are too long for the
    /// base's gain.
    pub(super) fn steady(
        search: &Search<'a, T>,
        base: Side<'a, T>,
        excluded_base: Vec<(usize, Exclusion)>,
        stats: Stats,
    ) -> Option<Self> {
        let metric = search.metric;
        let (mut queries, excluded) = Side::select(search.queries, Rows::All, metric);
        if metric == Metric::SquaredL2 {
            if queries.gain < base.gain {
                return None;
            }
            queries.gain = base.gain;
        }
        queries.centre = vec![0.0; search.queries.cols()];
        let tilt = steady_tilt(&base, metric);
        let mut summary = Summary { stats, candidates: base.rows.len(), excluded, excluded_base };
        summary.stats.excluded_rows = (summary.excluded.len() + summary.excluded_base.len()) as u64;
        Some(Self { queries, base, metric, pairing: Pairing::Between, tilt, summary })
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queries.rows.is_empty() || self.base.rows.is_empty()
    }

    /// Bytes of what was prepared.
    pub(super) fn bytes(&self) -> usize {
        self.queries.bytes() + self.base.bytes() + self.tilt.capacity() * size_of::<f64>()
    }

    /// The score of two positions.
    #[inline]
    pub(super) fn score(&self, query: usize, position: usize) -> f64 {
        score::score(
            self.metric,
            self.queries.vector(query),
            self.base.vector(position),
            (self.queries.inverses[query], self.base.inverses[position]),
        )
    }

    /// K of a query: its score with any row, less the rank part of that row.
    pub(super) fn rest(&self, query: usize) -> f64 {
        let factor = self.queries.factor(query);
        let both = self.queries.vector(query).iter().zip(&self.base.centre);
        match self.metric {
            Metric::Cosine | Metric::Dot => both.map(|(q, c)| q.to_f64() * factor * c).sum(),
            Metric::SquaredL2 => {
                -0.5 * both.map(|(q, c)| (q.to_f64() * factor - c).powi(2)).sum::<f64>()
            }
        }
    }

    /// What makes a score comparable with a rank part and K.
    pub(super) fn unit(&self) -> f64 {
        match self.metric {
            Metric::Cosine => 1.0,
            Metric::Dot => self.queries.gain * self.base.gain,
            Metric::SquaredL2 => -0.5 * self.base.gain * self.base.gain,
        }
    }

    /// The least rank part, as a float, of a row that can have `score` or a nearer one.
    pub(super) fn threshold(&self, score: Option<f64>, rest: f64) -> f32 {
        let Some(score) = score else { return f32::MIN };
        let least = score * self.unit() - rest;
        // Never infinitely low: a place of a tile that holds no row has an upper bound of -infinity.
        ((least - 4e-7 * least.abs() - 1e-10) as f32).max(f32::MIN)
    }
}

/// What β takes the product with when the queries' centre is 0.
pub(super) fn steady_tilt<T>(base: &Side<'_, T>, metric: Metric) -> Vec<f64> {
    match metric {
        Metric::Cosine | Metric::Dot => vec![0.0; base.centre.len()],
        Metric::SquaredL2 => base.centre.iter().map(|centre| -centre).collect(),
    }
}

/// What bounds the score of one vector, all rounded up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// What a code of 1 stands for.
    pub(super) scale: f32,
    /// ‖z‖ of a base row; ‖ŵ‖ of a query.
    pub(super) size: f32,
    /// ‖z − ẑ‖ of a base row; ‖w − ŵ‖ of a query.
    pub(super) error: f32,
    /// β of a base row; 0 of a query.
    pub(super) bias: f32,
}

/// Relative slack of the facts.
const UP: f64 = 1.0 + 1e-5;

/// Writes `factor * values - centre` as whole numbers of -`limit` to `limit`, and says what that costs.
///
/// `work` and `codes` are as long as each other, a multiple of 8, and at least as long as the vector.
pub(super) fn quantise<T: Element>(
    values: &[T],
    factor: f64,
    centre: &[f64],
    tilt: &[f64],
    limit: f64,
    work: &mut [f64],
    codes: &mut [i8],
) -> Measured {
    vectorised(Quantise { values, factor, centre, tilt, limit, work, codes })
}

/// The norms of one vector and of its codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// What a code of 1 stands for.
    scale: f32,
    /// ‖z‖².
    squares: f64,
    /// ‖z − ẑ‖².
    errors: f64,
    /// tilt·z.
    tilted: f64,
}

impl Measured {
    /// Of a row of the base.
    pub(super) fn of_base(&self, metric: Metric) -> Facts {
        let bias = match metric {
            Metric::Cosine | Metric::Dot => self.tilted,
            Metric::SquaredL2 => self.tilted - 0.5 * self.squares,
        };
        let (size, error) = (self.squares.sqrt(), self.errors.sqrt());
        let rounding = 2f64.powi(-20) * (size + error);
        Facts {
            scale: self.scale,
            size: (size * UP + 1e-30) as f32,
            error: (error * UP + rounding + 1e-30) as f32,
            bias: (bias + 2f64.powi(-20) * bias.abs() + 1e-30) as f32,
        }
    }

    /// Of a query. ‖ŵ‖ is at most ‖w‖ + ‖w − ŵ‖.
    pub(super) fn of_query(&self) -> Facts {
        let (size, error) = (self.squares.sqrt(), self.errors.sqrt());
        Facts {
            scale: self.scale,
            size: ((size + error) * UP + 1e-30) as f32,
            error: (error * UP + 1e-30) as f32,
            bias: 0.0,
        }
    }
}

struct Quantise<'a, T> {
    values: &'a [T],
    factor: f64,
    centre: &'a [f64],
    tilt: &'a [f64],
    limit: f64,
    work: &'a mut [f64],
    codes: &'a mut [i8],
}

const LANES: usize = 8;

impl<T: Element> Work for Quantise<'_, T> {
    type Output = Measured;

    #[inline(always)]
    fn run(self) -> Measured {
        let Self { values, factor, centre, tilt, limit, work, codes } = self;
        let (z, rest) = work.split_at_mut(values.len());
        rest.fill(0.0);
        for ((z, value), centre) in z.iter_mut().zip(values).zip(centre) {
            *z = value.to_f64() * factor - centre;
        }
        let (mut most, mut squares) = ([0.0f64; LANES], [0.0f64; LANES]);
        for part in work.chunks_exact(LANES) {
            for lane in 0..LANES {
                let size = part[lane].abs();
                most[lane] = if size > most[lane] { size } else { most[lane] };
                squares[lane] += part[lane] * part[lane];
            }
        }
        let mut tilted = [0.0f64; LANES];
        for (part, tilt) in work.chunks_exact(LANES).zip(tilt.chunks(LANES)) {
            for ((sum, z), tilt) in tilted.iter_mut().zip(part).zip(tilt) {
                *sum += z * tilt;
            }
        }
        let most = most.into_iter().fold(0.0, f64::max);
        // A scale that is no normal float would lose digits: such a vector is all error.
        let scale = (most / limit) as f32;
        let scale = if scale >= f32::MIN_POSITIVE { scale } else { 0.0 };
        let inverse = if scale > 0.0 { 1.0 / f64::from(scale) } else { 0.0 };
        let mut errors = [0.0f64; LANES];
        for (part, codes) in work.chunks_exact(LANES).zip(codes.chunks_exact_mut(LANES)) {
            for lane in 0..LANES {
                // Adding 1.5·2^52 leaves the nearest whole number in the low bits.
                let shifted = part[lane] * inverse + ROUNDING;
                codes[lane] = shifted.to_bits() as i8;
                let error = part[lane] - (shifted - ROUNDING) * f64::from(scale);
                errors[lane] += error * error;
            }
        }
        let total = |lanes: [f64; LANES]| lanes.into_iter().sum::<f64>();
        Measured { scale, squares: total(squares), errors: total(errors), tilted: total(tilted) }
    }
}

const ROUNDING: f64 = 6_755_399_441_055_744.0;
