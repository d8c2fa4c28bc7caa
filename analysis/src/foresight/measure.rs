//! Which of two foretells better, and how well.

use std::collections::BTreeMap;

use crate::noise::Noise;

/// Draws of cases, and how many cases are drawn in all of them together, at most.
const DRAWS: usize = 1_000;
const DRAWS_LEAST: usize = 200;
const DRAWN_MAX: usize = 20_000_000;
const SEED: u64 = 0x666f_7265;

/// What two lost over a case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// How often both foretold something.
    pub count: f64,
    /// What the first lost.
    pub first: f64,
    /// What the second lost.
    pub second: f64,
}

/// By how much the second loses less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// On the mean of all that was foretold.
    pub difference: f64,
    /// Where that lies with a confidence of 95 %, by drawing cases (Efron 1979).
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

impl Compared {
    /// The first beside the second.
    pub fn turned(self) -> Self {
        // Not the negative, which zero has, too.
        let turned = |of: f64| 0.0 - of;
        Self {
            difference: turned(self.difference),
            lower: turned(self.upper),
            upper: turned(self.lower),
        }
    }
}

/// By how much the second loses less, case by case; none without cases.
pub fn compare(cases: &[Losses]) -> Option<Compared> {
    let less = |count: f64, less: f64| if count > 0.0 { less / count } else { 0.0 };
    let sum = |get: fn(&Losses) -> f64| cases.iter().map(get).sum::<f64>();
    let count = sum(|of| of.count);
    if count <= 0.0 {
        return None;
    }
    let mut noise = Noise::new(SEED);
    let draws = (DRAWN_MAX / cases.len()).clamp(DRAWS_LEAST, DRAWS);
    let mut drawn: Vec<f64> = (0..draws)
        .map(|_| {
            let (mut count, mut gain) = (0.0, 0.0);
            for _ in 0..cases.len() {
                let place = (noise.uniform() * cases.len() as f64) as usize;
                if let Some(of) = cases.get(place) {
                    count += of.count;
                    gain += of.first - of.second;
                }
            }
            less(count, gain)
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let at = |q: f64| drawn.get((q * (draws - 1) as f64).round() as usize).copied();
    Some(Compared {
        difference: less(count, sum(|of| of.first - of.second)),
        lower: at(0.025)?,
        upper: at(0.975)?,
    })
}

/// The mean of F1 over all classes that are true or said.
pub fn macro_f1(truth: &[u32], said: &[u32]) -> f64 {
    // Of each class how often it is true, said, and both.
    let mut counts: BTreeMap<u32, (f64, f64, f64)> = BTreeMap::new();
    for (truth, said) in truth.iter().zip(said) {
        counts.entry(*truth).or_default().0 += 1.0;
        let of = counts.entry(*said).or_default();
        of.1 += 1.0;
        of.2 += f64::from(u8::from(truth == said));
    }
    let scores = counts.values().map(|(is, said, both)| 2.0 * both / (is + said));
    scores.sum::<f64>() / counts.len().max(1) as f64
}
