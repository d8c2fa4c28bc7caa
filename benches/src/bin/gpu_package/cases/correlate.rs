//! Pearson coefficients of all pairs.

use std::collections::BTreeSet;

use benches::Random;
use kernels::correlate::{Pair, Strength, Threshold, TopPairs, correlate};
use kernels::{Execution, MatrixView, Result, tolerance};

use super::{Case, Round};
use crate::agreement::{Agreement, spread};
use crate::data::{each, shrunk, uniform};

/// What the strong pairs must reach.
const THRESHOLD: f64 = 0.5;
/// Pairs of rows that are made alike.
const PLANTED: usize = 32;
/// Pairs that are computed again directly.
const SAMPLE: usize = 8;
/// Pairs that are looked at to see whether a strong one was missed.
const OTHERS: usize = 64;

struct Correlate {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    wants: Wants,
    found: Vec<Pair>,
}

enum Wants {
    Strongest(usize),
    AtLeast(f64),
}

/// The 100 strongest. All rows are one tile, and there is no floor before it ends: no screen.
pub fn strongest(scale: usize) -> Box<dyn Case> {
    Box::new(Correlate::new(scale, Wants::Strongest(100)))
}

/// Those above a threshold, which the screen finds.
pub fn screened(scale: usize) -> Box<dyn Case> {
    let mut case = Correlate::new(scale, Wants::AtLeast(THRESHOLD));
    // A row from the front and one from the back each, so that pairs lie all over the tile.
    let (front, back) = case.values.split_at_mut(case.rows / 2 * case.cols);
    let rows = front.chunks_exact(case.cols).zip(back.chunks_exact_mut(case.cols).rev());
    for (index, (a, b)) in rows.take(PLANTED).enumerate() {
        // 0.3 to 0.95; none is so near to the threshold that chance decides.
        let r = [0.3, 0.65, 0.8, 0.95][index % 4] as f32;
        let rest = (1.0 - r * r).sqrt();
        a.iter().zip(b).for_each(|(a, b)| *b = r * a + rest * *b);
    }
    Box::new(case)
}

impl Correlate {
    fn new(scale: usize, wants: Wants) -> Self {
        // Fewer samples would not be screened, and chance would reach the threshold.
        let (cols, left) = shrunk(1 << 20, 1_024, scale);
        let (rows, _) = shrunk(4_096, 200, left);
        Self { rows, cols, values: uniform(rows * cols), wants, found: Vec::new() }
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..][..self.cols]
    }

    fn direct(&self, row: usize, col: usize) -> f64 {
        pearson(self.row(row), self.row(col))
    }
}

impl Case for Correlate {
    fn size(&self) -> String {
        format!("{} x {}", self.rows, self.cols)
    }

    fn run(&mut self, execution: &Execution) -> Result<Round> {
        let x = MatrixView::new(&self.values, self.rows, self.cols)?;
        let stats = match self.wants {
            Wants::Strongest(count) => {
                let mut sink = TopPairs::new(Strength::Magnitude, count);
                let stats = correlate(x, &mut sink, execution)?.stats;
                self.found = sink.into_pairs();
                stats
            }
            Wants::AtLeast(threshold) => {
                let mut sink = Threshold::new(Strength::Magnitude, threshold);
                let stats = correlate(x, &mut sink, execution)?.stats;
                self.found = sink.into_pairs();
                stats
            }
        };
        let tiles = stats.tiles;
        Ok(Round::of(stats).with_fallbacks_of(tiles, "tiles"))
    }

    fn compare(&self) -> Result<Agreement> {
        let what = format!(
            "{SAMPLE} of the pairs found, and {OTHERS} others that might be missing, in f64"
        );
        let mut agreement = Agreement::new(what, tolerance::CORRELATE_F32);
        let sample: Vec<&Pair> =
            spread(self.found.len(), SAMPLE).into_iter().map(|at| &self.found[at]).collect();
        let direct = each(&sample, |pair| self.direct(pair.row, pair.col));
        for (pair, r) in sample.iter().zip(direct) {
            agreement.differ((pair.r - r).abs(), || format!("{pair:?}, directly {r}"));
        }
        let found: BTreeSet<(usize, usize)> =
            self.found.iter().map(|pair| (pair.row, pair.col)).collect();
        let floor = match self.wants {
            Wants::Strongest(count) => {
                let expected = count.min(self.rows * (self.rows - 1) / 2);
                let have = self.found.len();
                agreement.require(have == expected, || format!("{have} pairs of {expected}"));
                self.found.iter().map(|pair| pair.r.abs()).fold(f64::INFINITY, f64::min)
            }
            Wants::AtLeast(threshold) => threshold,
        };
        let mut others: Vec<(usize, usize)> = Vec::new();
        if let Wants::AtLeast(_) = self.wants {
            others.extend((0..PLANTED).map(|index| (index, self.rows - 1 - index)));
        }
        let mut random = Random::new(7);
        while others.len() < OTHERS {
            let [a, b] = [0; 2].map(|_| random.bits() as usize % self.rows);
            if a != b {
                others.push((a.min(b), a.max(b)));
            }
        }
        let direct = each(&others, |(row, col)| self.direct(row, col));
        for (pair, r) in others.iter().zip(direct) {
            let is_strong = r.abs() > floor + tolerance::CORRELATE_F32;
            let is_weak = r.abs() < floor - tolerance::CORRELATE_F32;
            let is_found = found.contains(pair);
            agreement.require(!is_strong || is_found, || format!("{pair:?} of {r} is missing"));
            agreement.require(!is_weak || !is_found, || format!("{pair:?} of {r} is too weak"));
        }
        Ok(agreement)
    }
}

/// In f64, in two passes.
fn pearson(x: &[f32], y: &[f32]) -> f64 {
    let mean = |x: &[f32]| x.iter().map(|value| f64::from(*value)).sum::<f64>() / x.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (f64::from(*x) - mx, f64::from(*y) - my);
        xy += x * y;
        xx += x * x;
        yy += y * y;
    }
    xy / (xx * yy).sqrt()
}
