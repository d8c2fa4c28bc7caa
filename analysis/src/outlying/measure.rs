//! One number of each row, made comparable: about 0, and so that its tail falls as that of a normal one where there are values that say
//! so, and no slower than exponentially beyond.
//!
//! ```text
//!   z = (x − median) / σ,   v = |z| / o         o: the mean of the |z| of ranks J+1 … B
//!   level = ± o° · asinh(b·v) / asinh(b)        o°: that mean of a normal column; b → 0 leaves z as it is
//!   b: so that the mean of the middle |z| has the ratio to o that it has in a normal column; 0 where tails are lighter
//! ```
//!
//! asinh is a logarithm far out: a lognormal tail becomes a normal one, and that of a power, t₃ or Pareto of any index, exponential.
//! A fixed b was tried: it halves what a wild value of a normal column is away.

use statrs::distribution::{Continuous, ContinuousCDF, Normal};

use crate::series::spread;
use crate::tail::{Ranks, Tail};

/// A σ below this part of the values' size is rounding.
const ROUNDING: f64 = 1e-9;
/// The middle of a side: these parts of all values are further out.
const MIDDLE: (f64, f64) = (0.12, 0.45);
/// The outer values of a side end at this part of all, or at this many times J.
const OUTER_PART: f64 = 0.08;
const OUTER_TIMES: usize = 3;
/// The standard error of a side's heaviness, times √rows, of normal columns; and that of the mean of both.
const SIDE_ERROR: f64 = 1.3;
const BOTH_ERROR: f64 = 0.95;
/// Sides that differ by less than this many of its standard errors are alike.
const ALIKE: f64 = 2.0;
/// How heavy a tail may be: its estimate plus so many standard errors, and the weight of each in p.
/// Fewer errors are added the more rows there are, half of one for each doubling from `CAUTION_ROWS` and one at most: t₃ is 5 standard
/// errors from normal with 500 rows, and 10 with 2,000.
const CAUTION_ROWS: f64 = 500.0;
const CAUTION: [(f64, f64); 3] = [(0.0, 0.65), (1.0, 0.3), (2.0, 0.05)];
/// Which of them levels are of: a cautious one, for distances have no other.
const LEVELS: usize = 1;
/// The heaviest.
const HEAVINESS_MAX: f64 = 3.0;
/// Bends.
const BEND_MAX: f64 = 50.0;
const HALVINGS: usize = 40;
/// A level to this power has an exponential tail if it is normal, from 1 to 4 standard deviations; the bent ones of logistic and
/// exponential values fall as fast. Further on it goes to 1, which is right for a tail that was a power's: that of t₃ has a bend of 2.2.
const POWER: f64 = 1.7;
const BENT: (f64, f64) = (0.6, 1.6);
/// A side is stretched by so much at most: noise about the most common value is no side.
const STRETCH_MAX: f64 = 3.0;
/// The least scale of a tail of levels.
const SCALE_MIN: f64 = 0.05;
/// The highest level on a side that does not say how its tail falls.
const LEVEL_MAX: f64 = 2.0;

/// How many of `rows` rows may be unusual, and how many say what is usual.
pub(super) fn ranks(rows: usize) -> Ranks {
    let unusual_max = (16 + rows / 1_000).min(64).min(rows / 16).max(1);
    Ranks { unusual_max, spacings: (rows / 8).clamp(16, 1_000) }
}

/// What is usual for one number of each row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measure {
    pub(super) median: f64,
    /// Robust standard deviation.
    pub(super) sigma: f64,
    /// Below the median, and above. One of them may have too few values.
    sides: [Option<Side>; 2],
}

impl Measure {
    /// Of finite values that come in steps of `step` or more; `None` where on neither side of the median `ranks.needed()` differ from
    /// it by more than a rounding.
    pub(super) fn of(values: &[f64], step: f64) -> Option<Self> {
        let whole = spread(values);
        let (median, sigma) = (whole.centre, whole.at_least_of_mean());
        if !sigma.is_finite() || sigma <= ROUNDING * median.abs() || sigma <= f64::MIN_POSITIVE {
            return None;
        }
        let sizes = |sign: f64| -> Vec<f64> {
            let size = |value: &f64| sign * (value - median) / sigma;
            values.iter().map(size).filter(|size| *size > ROUNDING).collect()
        };
        let rows = values.len();
        let found = [-1.0, 1.0].map(|sign| Sizes::of(sizes(sign), rows));
        let root = (rows as f64).sqrt();
        let alike = |a: &Sizes, b: &Sizes| {
            (a.heaviness - b.heaviness).abs() < ALIKE * 2.0_f64.sqrt() * SIDE_ERROR / root
        };
        let both = match &found {
            [Some(a), Some(b)] if alike(a, b) => Some((a.heaviness + b.heaviness) / 2.0),
            _ => None,
        };
        let side = |sizes: &Sizes| match both {
            Some(heaviness) => Side::of(sizes, heaviness, BOTH_ERROR / root, step / sigma),
            None => Side::of(sizes, sizes.heaviness, SIDE_ERROR / root, step / sigma),
        };
        let sides = found.each_ref().map(|sizes| sizes.as_ref().map(side));
        sides.iter().any(Option::is_some).then_some(Self { median, sigma, sides })
    }

    /// Robust standard deviations.
    pub(super) fn deviation(&self, value: f64) -> f64 {
        (value - self.median) / self.sigma
    }

    /// Comparable to a normal value's.
    pub(super) fn level(&self, value: f64) -> f64 {
        let z = self.deviation(value);
        let size = match &self.sides[usize::from(z > 0.0)] {
            Some(side) if side.has_tail() => side.bent(z.abs()),
            Some(side) => side.bent(z.abs()).min(LEVEL_MAX),
            None => z.abs().min(LEVEL_MAX),
        };
        size.copysign(z)
    }

    /// −log₁₀ of how rarely rows of which none is unusual have such a value; `None` where nothing says so.
    pub(super) fn score(&self, value: f64) -> Option<f64> {
        let z = self.deviation(value);
        let side = self.sides[usize::from(z > 0.0)].as_ref()?;
        Some(side.score(z.abs())? - 2.0_f64.log10())
    }

    /// The largest step between levels of the tails.
    pub(super) fn level_step(&self) -> f64 {
        let step = |side: &Side| {
            let (low, high) = (side.outer - side.step / 2.0, side.outer + side.step / 2.0);
            side.bent(high) - side.bent(low.max(0.0))
        };
        self.sides.iter().flatten().map(step).fold(0.0, f64::max)
    }
}

/// The distances from the median of the values on one side, in robust standard deviations.
struct Sizes {
    /// In descending order, 0 for those that are at the median.
    sizes: Vec<f64>,
    ranks: Ranks,
    outer: f64,
    outer_normal: f64,
    middle_normal: f64,
    /// Logarithm of outer / middle as a part of that of normal values.
    heaviness: f64,
}

impl Sizes {
    /// `rows` are those of both sides.
    fn of(mut sizes: Vec<f64>, rows: usize) -> Option<Self> {
        let ranks = ranks(rows);
        if sizes.len() < ranks.needed() {
            return None;
        }
        sizes.sort_unstable_by(|a, b| b.total_cmp(a));
        sizes.resize(sizes.len().max(rows / 2), 0.0);
        let last = (rows as f64 * OUTER_PART) as usize;
        let outer = (ranks.unusual_max, last.max(OUTER_TIMES * ranks.unusual_max));
        let middle = ((rows as f64 * MIDDLE.0) as usize, (rows as f64 * MIDDLE.1) as usize);
        let mean = |(first, end): (usize, usize)| {
            sizes[first..end].iter().sum::<f64>() / (end - first) as f64
        };
        let (outer_normal, middle_normal) = (normal_mean(outer, rows), normal_mean(middle, rows));
        let (outer, middle) = (mean(outer), mean(middle));
        let heaviness = ((outer / middle) / (outer_normal / middle_normal)).ln().min(HEAVINESS_MAX);
        Some(Self { sizes, ranks, outer, outer_normal, middle_normal, heaviness })
    }
}

/// What is usual on one side of the median.
#[derive(Clone, Debug, PartialEq)]
struct Side {
    /// o and o°.
    outer: f64,
    outer_normal: f64,
    /// The largest step between values of the tail, in robust standard deviations.
    step: f64,
    /// One for each of `CAUTION`.
    shapes: [Shape; 3],
}

/// How heavy a tail may be, and the tail that is then.
#[derive(Clone, Debug, PartialEq)]
struct Shape {
    weight: f64,
    /// b.
    bend: f64,
    power: f64,
    tail: Option<Tail>,
}

impl Side {
    fn of(sizes: &Sizes, heaviness: f64, error: f64, step: f64) -> Self {
        let Sizes { ranks, outer_normal, middle_normal, .. } = *sizes;
        let outer = sizes.outer.max(outer_normal / STRETCH_MAX);
        let usual = &sizes.sizes[ranks.unusual_max..ranks.needed()];
        let step = usual.windows(2).map(|pair| pair[0] - pair[1]).fold(step, f64::max);
        let fewer = ((2 * sizes.sizes.len()) as f64 / CAUTION_ROWS).log2() / 2.0;
        let shape = |(errors, weight): (f64, f64)| {
            let (normal, errors) = (middle_normal / outer_normal, errors - fewer.clamp(-1.0, 1.0));
            let bend = bend(normal / (heaviness + errors * error).exp(), normal);
            let bent = ((bend - BENT.0) / (BENT.1 - BENT.0)).clamp(0.0, 1.0);
            Shape { weight, bend, power: POWER + (1.0 - POWER) * bent, tail: None }
        };
        let mut side = Self { outer, outer_normal, step, shapes: CAUTION.map(shape) };
        let tails = side.shapes.each_ref().map(|shape| {
            let of = |size: f64| side.unbounded(shape, size);
            let top: Vec<f64> =
                sizes.sizes[..ranks.needed()].iter().map(|size| of(*size)).collect();
            Tail::of(&top, ranks, SCALE_MIN).map(|tail| tail.from(of(usual[0] + step)))
        });
        side.shapes.iter_mut().zip(tails).for_each(|(shape, tail)| shape.tail = tail);
        side
    }

    fn has_tail(&self) -> bool {
        self.shapes[0].tail.is_some()
    }

    fn bent(&self, size: f64) -> f64 {
        self.bent_by(self.shapes[LEVELS].bend, size)
    }

    fn bent_by(&self, bend: f64, size: f64) -> f64 {
        let v = size / self.outer;
        match bend > 0.0 {
            true => self.outer_normal * (bend * v).asinh() / bend.asinh(),
            false => self.outer_normal * v,
        }
    }

    fn unbounded(&self, shape: &Shape, size: f64) -> f64 {
        self.bent_by(shape.bend, size).powf(shape.power)
    }

    fn score(&self, size: f64) -> Option<f64> {
        let mut p = 0.0;
        for shape in &self.shapes {
            let score = shape.tail.as_ref()?.score(self.unbounded(shape, size));
            p += shape.weight * 10.0_f64.powf(-score);
        }
        Some(-p.max(f64::MIN_POSITIVE).log10())
    }
}

/// The mean of normal values of these ranks, counted from 0, the end excluded.
fn normal_mean((first, end): (usize, usize), rows: usize) -> f64 {
    let normal = Normal::standard();
    // ∫z φ = −φ.
    let density = |rank: usize| match rank {
        0 => 0.0,
        _ => normal.pdf(normal.inverse_cdf(rank as f64 / rows as f64)),
    };
    (density(end) - density(first)) * rows as f64 / (end - first) as f64
}

/// b of asinh(b·ratio) / asinh(b) = normal ratio, which grows with b; 0 where the ratio is as large.
fn bend(ratio: f64, normal: f64) -> f64 {
    if ratio >= normal {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, BEND_MAX);
    for _ in 0..HALVINGS {
        let b: f64 = (low + high) / 2.0;
        match (b * ratio).asinh() / b.asinh() < normal {
            true => low = b,
            false => high = b,
        }
    }
    (low + high) / 2.0
}
