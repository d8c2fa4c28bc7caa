//! Random numbers whose sequence is part of what is promised: the same seed gives the same order of texts, and so the
//! same weights, with every version of every library. SplitMix64 (Steele, Lea and Flood 2014, figure 17).

/// A sequence of numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed` for the purpose `stream`: an epoch, a weight.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self(seed);
        let mixed = random.next() ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self(mixed)
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `count`, which is at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        // The high half of a product: within 2^-40 of even for any list that fits in memory.
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// A number of at least -1 and below 1.
    pub fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    /// Puts `items` into a random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // The first numbers of SplitMix64 from 1234567, as listed with its reference implementation.
        let mut random = Random(1_234_567);
        let found = [random.next(), random.next(), random.next()];
        assert_eq!(found, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn an_order_is_the_seeds_alone_and_holds_everything_once() {
        let order = |seed, stream| {
            let mut items: Vec<usize> = (0..100).collect();
            Random::new(seed, stream).shuffle(&mut items);
            items
        };
        assert_eq!(order(1, 2), order(1, 2));
        assert!(order(1, 2) != order(1, 3) && order(1, 2) != order(2, 2));
        let mut sorted = order(7, 7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        let mut random = Random::new(3, 0);
        assert!((0..1000).all(|_| (-1.0..1.0).contains(&random.signed())));
    }
}
