//! Randomness by name: every draw follows from the seed and from what it is for, so that rows do not depend
//! on how they are cut into batches.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of draws for `stream` under `seed`.
pub(super) fn rng(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// A cheap source of draws for one row, from the seed and the row's number (SplitMix64, Steele et al. 2014).
pub(super) struct RowRng(u64);

impl RowRng {
    pub(super) fn new(seed: u64, row: u64) -> Self {
        Self(mix(seed ^ mix(row.wrapping_add(0x9E37_79B9_7F4A_7C15))))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// In [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// In `0..bound`; `bound` is above 0 and far below 2^32.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Draws from the normal distribution, two at a time (Box and Muller 1958).
pub(super) struct Normals {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normals {
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self { rng: rng(seed, stream), spare: None }
    }

    pub(super) fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let uniform: f64 = self.rng.random();
        let radius = (-2.0 * (1.0 - uniform).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.rng.random::<f64>()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// Picks an index by weight.
pub(super) fn weighted(unit: f64, weights: impl Iterator<Item = f64> + Clone) -> usize {
    let total: f64 = weights.clone().sum();
    let mut left = unit * total;
    let mut last = 0;
    for (at, weight) in weights.enumerate() {
        last = at;
        if left < weight {
            return at;
        }
        left -= weight;
    }
    last
}
