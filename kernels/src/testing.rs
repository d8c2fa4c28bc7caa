//! Random inputs for tests, from a seed that is printed and can be given.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::element::Element;

/// A generator from `COLONNADE_TEST_SEED`, or from the clock. The seed is printed, and shown when a test fails.
pub(crate) fn generator(test: &str) -> ChaCha8Rng {
    let seed = match std::env::var("COLONNADE_TEST_SEED") {
        Ok(text) => text.parse().expect("COLONNADE_TEST_SEED must be a whole number"),
        Err(_) => {
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
                as u64
        }
    };
    eprintln!("{test}: COLONNADE_TEST_SEED={seed}");
    ChaCha8Rng::seed_from_u64(seed)
}

/// About normal values around `offset` with standard deviation `spread`.
pub(crate) fn values<T: Element>(
    rng: &mut ChaCha8Rng,
    len: usize,
    offset: f64,
    spread: f64,
) -> Vec<T> {
    (0..len)
        .map(|_| {
            let sum: f64 = (0..6).map(|_| rng.random::<f64>() - 0.5).sum();
            T::from_f64(offset + spread * sum * std::f64::consts::SQRT_2)
        })
        .collect()
}
