//! Random inputs for tests, from a seed that is printed and can be given.

// Outside of tests only the checks on a device are called.
#![cfg_attr(not(test), allow(dead_code))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::element::Element;

/// A generator of its own for each test, from `COLONNADE_TEST_SEED`. Without it the same numbers come every time, so
/// that one change passes or fails alike wherever it is tried; `make test-seeds` tries others. The seed is printed,
/// and shown when a test fails.
pub(crate) fn generator(test: &str) -> ChaCha8Rng {
    let seed = match std::env::var("COLONNADE_TEST_SEED") {
        Ok(text) => text.parse().expect("COLONNADE_TEST_SEED must be a whole number"),
        Err(_) => 0,
    };
    eprintln!("{test}: COLONNADE_TEST_SEED={seed}");
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    // FNV-1a of the name.
    let stream = test.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    generator.set_stream(stream);
    generator
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

/// A way to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// The CPU.
    Cpu,
    /// The CUDA kernels, on the host emulation.
    Emulated,
    /// The CUDA kernels, on a device.
    Cuda,
}

/// Something that must hold on a CUDA device. It panics where it does not.
#[derive(Debug)]
pub struct Check {
    /// The operation, and what is checked.
    pub name: &'static str,
    /// Checks it.
    pub run: fn(),
}

impl Check {
    pub(crate) const fn new(name: &'static str, run: fn()) -> Self {
        Self { name, run }
    }
}

/// Runs the checks where there is a device; says so where there is none.
pub(crate) fn check_all(checks: &[Check]) {
    match crate::device::devices().cuda_absent {
        None => checks.iter().for_each(|check| (check.run)()),
        Some(reason) => {
            for check in checks {
                eprintln!("SKIPPED {} on CUDA: {reason}", check.name);
            }
        }
    }
}

/// Execution with small input sent to the device all the same.
pub(crate) fn on(route: Route) -> crate::Execution {
    let gpu = if route == Route::Cuda { crate::GpuPolicy::Required } else { crate::GpuPolicy::Off };
    crate::Execution { gpu, ..crate::Execution::default() }
}
