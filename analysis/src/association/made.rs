//! Series that other programs make the same.

/// (t²·31 + t·(17 + 12k) + 29k) mod 101 / 101.
pub(super) fn scrambled(k: usize, samples: usize) -> Vec<f64> {
    let value = |t: usize| ((t * t * 31 + t * (17 + k * 12) + k * 29) % 101) as f64 / 101.0;
    (0..samples).map(value).collect()
}

/// Sum of both, the second one times a factor.
pub(super) fn plus(a: &[f64], factor: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + factor * b).collect()
}

/// Each value, and 0.7 times what was made of those before.
pub(super) fn smooth(row: &[f64]) -> Vec<f64> {
    let sum = |sum: &mut f64, value: &f64| {
        *sum = 0.7 * *sum + value;
        Some(*sum)
    };
    row.iter().scan(0.0, sum).collect()
}

/// x, y and what both follow, 60 samples.
pub(super) fn three() -> [Vec<f64>; 3] {
    let z = scrambled(2, 60);
    let x = plus(&scrambled(0, 60), 0.8, &z);
    let y = plus(&plus(&scrambled(1, 60), 0.6, &z), 0.3, &x);
    [x, y, z]
}

pub(super) fn assert_near(actual: f64, expected: f64) {
    let off = (actual - expected).abs();
    assert!(off <= 1e-9 * expected.abs().max(1e-3), "{actual}, expected {expected}");
}
