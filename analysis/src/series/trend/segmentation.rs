//! Cuts a series into segments of one level each, so that this is least over all ways to cut it:
//!
//! ```text
//!   Σ_segments Σ_t (x_t − mean of its segment)²  +  penalty · (segments − 1)        each segment ≥ length_min values
//! ```
//!
//! F(t), the least cost of the first t values, is F(τ) + penalty + cost(τ..t) at the best last cut τ. PELT (R. Killick, P. Fearnhead
//! & I. A. Eckley, "Optimal Detection of Changepoints with a Linear Computational Cost", 2012) drops each τ that can't be the best
//! any more, but without changes it drops none and takes O(n²). So here cuts are dropped by the level that the last segment has,
//! as in FPOP (R. Maidstone, T. Hocking, G. Rigaill & P. Fearnhead, "On optimal multiple changepoint algorithms for large data",
//! 2017): each level μ keeps the one τ with the least cost of a last segment from τ at that level. What τ lost at μ it never
//! regains, because both pay (x_t − μ)² from then on; so this is exact too.
//!
//! ```text
//!   μ     |---- τ=40 ----|-- τ=63 --|------ τ=40 ------|--- τ=71 ---|      a piece: a range of μ and its best τ
//! ```
//!
//! Costs O(n · pieces). Pieces grow like ln n on noise: some tens at 100,000 values, with changes or without. A long slope that a high
//! penalty forbids to cut has as many as values; so where there are more than [`PIECES_MAX`], the half whose candidates cost
//! least stays, and the cuts are no longer sure to be the best.

/// Pieces at most. Up to there a segmentation is exact.
pub const PIECES_MAX: usize = 256;

/// The least cost from τ at level μ: `least + values·(μ − mean)²`, a parabola.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    start: usize,
    values: f64,
    mean: f64,
    least: f64,
}

impl Candidate {
    /// Takes one more value into the last segment (B. P. Welford, 1962).
    fn push(&mut self, value: f64) {
        self.values += 1.0;
        let from_mean = value - self.mean;
        self.mean += from_mean / self.values;
        self.least += from_mean * (value - self.mean);
    }

    /// Between which levels this one costs less than `newer`, which has fewer values.
    fn better_than(&self, newer: &Self) -> Option<(f64, f64)> {
        let wider = self.values - newer.values;
        let apart = newer.values * (self.mean - newer.mean);
        let under =
            apart * apart + wider * (apart * (self.mean - newer.mean) + newer.least - self.least);
        (under > 0.0).then(|| {
            let (middle, half) = (self.mean + apart / wider, under.sqrt() / wider);
            (middle - half, middle + half)
        })
    }
}

/// Levels from `low` to `high`, and their best candidate.
#[derive(Clone, Copy, Debug)]
struct Piece {
    low: f64,
    high: f64,
    best: Candidate,
}

impl Piece {
    fn least(&self) -> f64 {
        let best = &self.best;
        best.least + best.values * (best.mean.max(self.low).min(self.high) - best.mean).powi(2)
    }
}

/// A cut series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segmentation {
    /// Where each segment but the first starts.
    pub cuts: Vec<usize>,
    /// What it costs, penalties included.
    pub cost: f64,
    /// The most pieces at any time; above [`PIECES_MAX`] the cuts may not be the best.
    pub pieces_max: usize,
}

/// The cheapest segmentation of finite values. A series shorter than two segments is one.
pub fn segment(values: &[f64], penalty: f64, length_min: usize) -> Segmentation {
    let (n, length_min) = (values.len(), length_min.max(1));
    if n == 0 {
        return Segmentation::default();
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let margin = high - low + 1.0;
    let of = |start: usize, end: usize, cost: f64| {
        let mut candidate = Candidate { start, values: 0.0, mean: 0.0, least: cost };
        values[start..end].iter().for_each(|value| candidate.push(*value));
        candidate
    };
    // A last segment from 0 has no bound to how short it is until the others start.
    let all = Piece { low: low - margin, high: high + margin, best: of(0, 0, 0.0) };
    let (mut pieces, mut next) = (vec![all], Vec::new());
    let mut costs = vec![0.0; n + 1];
    let mut starts = vec![0; n + 1];
    let mut pieces_max = 1;
    for end in 1..=n {
        pieces.iter_mut().for_each(|piece| piece.best.push(values[end - 1]));
        if end >= 2 * length_min {
            let start = end - length_min;
            let newer = of(start, end, costs[start] + penalty);
            next.clear();
            pieces.iter().for_each(|piece| insert(&mut next, piece, newer));
            std::mem::swap(&mut pieces, &mut next);
            pieces_max = pieces_max.max(pieces.len());
            if pieces.len() > PIECES_MAX {
                thin(&mut pieces);
            }
        }
        let mut best = (f64::INFINITY, 0);
        for piece in &pieces {
            let cost = piece.least();
            if cost < best.0 {
                best = (cost, piece.best.start);
            }
        }
        (costs[end], starts[end]) = best;
    }
    let mut cuts = Vec::new();
    let mut start = starts[n];
    while start > 0 {
        cuts.push(start);
        start = starts[start];
    }
    cuts.reverse();
    Segmentation { cuts, cost: costs[n], pieces_max }
}

/// Appends a piece, less the levels where `newer` costs less, which that one gets.
fn insert(pieces: &mut Vec<Piece>, old: &Piece, newer: Candidate) {
    let mut push = |low: f64, high: f64, best: Candidate| match pieces.last_mut() {
        Some(last) if last.best.start == best.start => last.high = high,
        _ => pieces.push(Piece { low, high, best }),
    };
    let (low, high) = match old.best.better_than(&newer) {
        Some((low, high)) => (low.max(old.low), high.min(old.high)),
        None => (old.high, old.low),
    };
    if low >= high {
        return push(old.low, old.high, newer);
    }
    if low > old.low {
        push(old.low, low, newer);
    }
    push(low, high, old.best);
    if high < old.high {
        push(high, old.high, newer);
    }
}

/// Leaves the half that costs least, and gives it the levels of the others.
fn thin(pieces: &mut Vec<Piece>) {
    let mut costs: Vec<f64> = pieces.iter().map(Piece::least).collect();
    let middle = costs.len() / 2;
    let most = *costs.select_nth_unstable_by(middle, f64::total_cmp).1;
    let high = pieces.last().map_or(0.0, |piece| piece.high);
    let mut low = pieces.first().map_or(0.0, |piece| piece.low);
    pieces.retain(|piece| piece.least() <= most);
    for piece in pieces.iter_mut() {
        piece.low = low;
        low = piece.high;
    }
    if let Some(last) = pieces.last_mut() {
        last.high = high;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::samples::{STEPS, Tails, noise};
    use super::*;

    /// Optimal partitioning in O(n²) (B. Jackson et al., 2005): the least cost, and its cuts.
    fn by_trying_all(values: &[f64], penalty: f64, length_min: usize) -> (f64, Vec<usize>) {
        let n = values.len();
        let mut best: Vec<Option<(f64, Vec<usize>)>> = vec![None; n + 1];
        for end in length_min..=n {
            let cost = |start: usize| {
                let part = &values[start..end];
                let mean = part.iter().sum::<f64>() / part.len() as f64;
                part.iter().map(|value| (value - mean).powi(2)).sum::<f64>()
            };
            let mut own = (cost(0), Vec::new());
            for (start, before) in best.iter().enumerate().take(end + 1 - length_min) {
                let Some((before, cuts)) = before else { continue };
                let total = before + penalty + cost(start);
                if total < own.0 {
                    own = (total, cuts.iter().copied().chain([start]).collect());
                }
            }
            best[end] = Some(own);
        }
        best[n].clone().unwrap()
    }

    #[test]
    fn no_way_to_cut_is_cheaper() {
        for seed in 0..300 {
            let n = 10 + seed as usize % 70;
            let tails = if seed % 2 == 0 { Tails::Normal } else { Tails::Heavy };
            let mut values = noise(n, [0.0, 0.9][seed as usize % 2], tails, seed);
            let cut = (seed as usize * 7) % n;
            values[cut..].iter_mut().for_each(|value| *value += [0.0, 2.0, 1e4][seed as usize % 3]);
            for (penalty, length_min) in [(0.5, 1), (2.0, 2), (4.0, 3), (10.0, 5), (1.0, 5)] {
                let found = segment(&values, penalty, length_min);
                let (cost, cuts) = by_trying_all(&values, penalty, length_min);
                assert!(
                    (found.cost - cost).abs() <= 1e-9 * (1.0 + cost),
                    "seed {seed}: {found:?} {cost}"
                );
                assert_eq!(found.cuts, cuts, "seed {seed}, penalty {penalty}, length {length_min}");
            }
        }
    }

    #[test]
    fn cuts_are_those_of_ruptures() {
        // ruptures 1.1.10: Pelt(model="l2", min_size=length_min, jump=1).predict(pen=penalty), and the cost of that
        for (penalty, length_min, cuts, cost) in [
            (2.0, 1, &[19, 27, 29, 37, 43, 59][..], 43.23714912280701),
            (2.0, 2, &[19, 27, 29, 37, 43, 57], 43.374291979949874),
            (2.0, 5, &[19, 36, 43], 45.10530738611233),
            (2.0, 10, &[20, 32, 43], 47.080729946524066),
            (5.0, 2, &[19, 36, 43], 54.10530738611233),
            (10.0, 5, &[19, 36, 43], 69.10530738611233),
            (10.0, 10, &[19, 43], 70.2490608875129),
            (20.0, 1, &[19, 43], 90.2490608875129),
            (60.0, 2, &[20], 143.88725),
        ] {
            let found = segment(&STEPS, penalty, length_min);
            assert_eq!(found.cuts, cuts, "penalty {penalty}, length {length_min}");
            assert!((found.cost - cost).abs() < 1e-9, "{} {cost}", found.cost);
        }
    }

    #[test]
    fn a_segment_has_its_least_length() {
        let values: Vec<f64> = (0..20).map(|t| if t < 4 { 0.0 } else { 10.0 }).collect();
        assert_eq!(segment(&values, 1.0, 4).cuts, [4]);
        assert_eq!(segment(&values, 1.0, 5).cuts, [5]);
        assert_eq!(segment(&values[..8], 1.0, 4).cuts, [4]);
        assert_eq!(segment(&values[..7], 1.0, 4).cuts, [0; 0]);
        assert_eq!(segment(&values, 1.0, 0).cuts, [4]);
        assert_eq!(segment(&[], 1.0, 4), Segmentation::default());
        assert_eq!(
            segment(&[3.0], 1.0, 1),
            Segmentation { cuts: vec![], cost: 0.0, pieces_max: 1 }
        );
    }

    #[test]
    fn pieces_stay_few_whatever_the_series() {
        let walk = |values: Vec<f64>| {
            let mut sum = 0.0;
            let add = |value: f64| {
                sum += value;
                sum
            };
            values.into_iter().map(add).collect::<Vec<_>>()
        };
        let plain = noise(20_000, 0.0, Tails::Normal, 1);
        let ramp: Vec<f64> = (0..20_000).map(f64::from).collect();
        let wave: Vec<f64> = ramp.iter().map(|t| 20.0 * (t / 100.0).sin()).collect();
        for (name, values, penalty) in [
            ("constant", vec![1.0; 20_000], 30.0),
            ("noise", plain.clone(), 30.0),
            ("noise, no changes", plain.clone(), 1e9),
            ("walk", walk(plain), 30.0),
            ("ramp", ramp.clone(), 30.0),
            ("wave", wave, 30.0),
        ] {
            let pieces = segment(&values, penalty, 5).pieces_max;
            assert!(pieces <= 60, "{name}: {pieces}");
        }
        // The one that has no bound of its own. The jump at its end is found all the same.
        let mut ramp = ramp;
        ramp[18_000..].iter_mut().for_each(|value| *value += 1e5);
        let found = segment(&ramp, 1e12, 5);
        assert_eq!(found.pieces_max, PIECES_MAX + 1);
        assert!(found.cuts.len() == 1 && found.cuts[0].abs_diff(18_000) <= 5, "{:?}", found.cuts);
    }
}
