//! Changes of inputs, without a look at what they reach.

use rand::prelude::*;
use rand_chacha::ChaCha8Rng;

use crate::INPUT_BYTES_MAX;

/// Changes on one input, at most.
const CHANGES_MAX: usize = 8;
/// Longest part that is copied, cut out or repeated.
const PART_BYTES_MAX: usize = 256;
/// How often a part is repeated, at most.
const REPEATS_MAX: usize = 64;

/// Makes inputs.
#[derive(Debug)]
pub struct Mutator {
    random: ChaCha8Rng,
}

impl Mutator {
    /// The same inputs for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// One of `seeds`, changed; `words` are put in as they are.
    pub fn change(&mut self, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let random = &mut self.random;
        let mut input = seeds.choose(random).cloned().unwrap_or_default();
        for _ in 0..random.random_range(1..=CHANGES_MAX) {
            let at = random.random_range(0..=input.len());
            let end = (at + random.random_range(1..=PART_BYTES_MAX)).min(input.len());
            match random.random_range(0..8) {
                0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
                1 if at < input.len() => input[at] = random.random(),
                2 => drop(input.drain(at..end)),
                3 => {
                    let part = input[at..end].to_vec();
                    let to = random.random_range(0..=input.len());
                    drop(input.splice(to..to, part));
                }
                4 => {
                    let part = input[at..end].repeat(random.random_range(2..=REPEATS_MAX));
                    drop(input.splice(at..at, part));
                }
                5 => {
                    if let Some(word) = words.choose(random) {
                        drop(input.splice(at..at, word.bytes()));
                    }
                }
                6 => {
                    if let Some(other) = seeds.choose(random) {
                        let from = random.random_range(0..=other.len());
                        let part = other[from..].iter().take(PART_BYTES_MAX).copied();
                        drop(input.splice(at..end, part.collect::<Vec<u8>>()));
                    }
                }
                _ => input.truncate(at),
            }
            input.truncate(INPUT_BYTES_MAX);
        }
        input
    }
}
