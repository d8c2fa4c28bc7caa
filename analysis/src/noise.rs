//! Numbers that look random and are the same in every run: samples of pairs, and data for tests.

/// The step of SplitMix64 from one state to the next (Steele, Lea & Flood, "Fast splittable pseudorandom number generators",
/// 2014).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Reproducible noise: SplitMix64, and Box and Muller for normal values.
pub struct Noise(u64);

impl Noise {
    /// The noise of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 0 to 1.
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(STEP);
        (mixed(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = (self.uniform() * (last + 1) as f64) as usize;
            items.swap(last, other.min(last));
        }
    }

    /// Mean 0, standard deviation 1.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// Number `index` of a sequence, without those before it.
pub(crate) fn nth(index: u64) -> u64 {
    mixed(index.wrapping_add(1).wrapping_mul(STEP))
}

fn mixed(state: u64) -> u64 {
    let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
