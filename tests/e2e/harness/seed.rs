//! Randomness that can be had again.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

/// A generator from `COLONNADE_TEST_SEED`, or from a new seed; either is printed.
pub fn random() -> ChaCha8Rng {
    let given = std::env::var("COLONNADE_TEST_SEED").ok();
    let seed = given
        .map_or_else(rand::random, |text| text.parse().expect("COLONNADE_TEST_SEED is a number"));
    println!("COLONNADE_TEST_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}
