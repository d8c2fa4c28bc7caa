//! Random numbers that a seed repeats, on every machine and whatever the number of threads.

use std::collections::HashSet;

/// splitmix64: Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
///
/// Good enough for samples and shuffles, and each state is a seed: independent sequences need no more than
/// [`Random::split`].
#[derive(Debug, Clone)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The sequence number `index` of a seed.
    pub(crate) fn split(seed: u64, index: u64) -> Self {
        // Two rounds of mixing keep neighbours in either argument apart.
        let mixed = Self::new(seed).bits();
        Self::new(Self::new(mixed ^ index).bits())
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 to `bound` − 1; 0 for a bound of 0. The bias is below `bound` / 2⁶⁴.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// `count` different numbers below `bound`, in random order (R. W. Floyd, in J. Bentley, "A sample of brilliance",
    /// CACM 30(9), 1987).
    pub(crate) fn different(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut taken = HashSet::with_capacity(count);
        let mut drawn = Vec::with_capacity(count);
        for last in bound.saturating_sub(count)..bound {
            let draw = self.below(last + 1);
            let draw = if taken.insert(draw) { draw } else { last };
            taken.insert(draw);
            drawn.push(draw);
        }
        drawn
    }

    /// 0 up to, and without, 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Normal with mean 0 and variance 1 (Box & Muller, 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Puts `items` into random order (Fisher & Yates; Durstenfeld, 1964).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_bounds_are_kept() {
        let draw = |seed, index| {
            let mut random = Random::split(seed, index);
            (0..1000).map(|_| random.below(7)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
        for value in 0..7 {
            let share = draw(5, 0).iter().filter(|&&drawn| drawn == value).count();
            assert!((80..220).contains(&share), "{value} came {share} times of 1000");
        }
    }

    #[test]
    fn normal_values_have_mean_0_and_variance_1() {
        let mut random = Random::new(3);
        let values: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(9).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
