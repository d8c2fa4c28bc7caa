//! How far the last residuals are from all that was there before: the mean distance to the nearest earlier subsequences (the left
//! matrix profile, with several neighbours and without its scaling; Yeh et al., "Matrix profile I", 2016). The past is bounded, and
//! its subsequences start every few samples, so that a sample costs the same however long the series is.

use serde::{Deserialize, Serialize};

/// Samples of a subsequence.
const LENGTH: usize = 32;
/// Samples between the starts of those that are remembered.
const STRIDE: usize = 8;
/// Samples that are remembered, and how many more there may be before the oldest are let go, whole strides both.
const MEMORY: usize = 2048;
const SLACK: usize = 256;
/// Neighbours that the distance is the mean of.
const NEIGHBOURS: usize = 5;
/// Subsequences that must be there.
const KNOWN_MIN: usize = 16;
/// Residuals beyond this count as it: sums of this many stay finite.
const RESIDUAL_MAX: f64 = 1e36;

/// The last residuals.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Shape {
    past: Vec<f32>,
}

impl Shape {
    /// Adds a residual; gives the distance of the subsequence that ends with it, 0 where too little is known.
    pub(super) fn push(&mut self, residual: f64) -> f64 {
        self.past.push(residual.clamp(-RESIDUAL_MAX, RESIDUAL_MAX) as f32);
        if self.past.len() > MEMORY + SLACK {
            self.past.drain(..SLACK);
        }
        let Some(start) = self.past.len().checked_sub(LENGTH) else { return 0.0 };
        let (past, last) = self.past.split_at(start);
        let Some(last) = last.first_chunk::<LENGTH>() else { return 0.0 };
        let mut nearest = [f32::INFINITY; NEIGHBOURS];
        let mut known = 0;
        // What overlaps is no neighbour.
        for at in (0..past.len()).step_by(STRIDE) {
            let Some(other) = past[at..].first_chunk::<LENGTH>() else { break };
            known += 1;
            keep_nearest(&mut nearest, distance(other, last));
        }
        if known < KNOWN_MIN {
            return 0.0;
        }
        nearest.iter().map(|near| f64::from(*near)).sum::<f64>() / NEIGHBOURS as f64
    }
}

/// The sum of absolute differences, in parts beside each other that are added two by two.
fn distance(a: &[f32; LENGTH], b: &[f32; LENGTH]) -> f32 {
    const PARTS: usize = 8;
    let mut parts = [0.0_f32; PARTS];
    for (a, b) in a.chunks_exact(PARTS).zip(b.chunks_exact(PARTS)) {
        for (part, (a, b)) in parts.iter_mut().zip(a.iter().zip(b)) {
            *part += (a - b).abs();
        }
    }
    let four: [f32; 4] = std::array::from_fn(|at| parts[at] + parts[at + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

fn keep_nearest(nearest: &mut [f32; NEIGHBOURS], distance: f32) {
    if distance >= nearest[NEIGHBOURS - 1] {
        return;
    }
    nearest[NEIGHBOURS - 1] = distance;
    let mut at = NEIGHBOURS - 1;
    while at > 0 && nearest[at] < nearest[at - 1] {
        nearest.swap(at, at - 1);
        at -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Noise;

    #[test]
    fn it_is_the_mean_distance_to_the_nearest_subsequences() {
        let mut noise = Noise::new(1);
        let (mut shape, mut all): (Shape, Vec<f32>) = Default::default();
        for at in 0..1200 {
            let value = noise.normal();
            all.push(value as f32);
            let found = shape.push(value);
            if at % 50 != 0 || at < 200 {
                continue;
            }
            let last = &all[all.len() - 32..];
            let mut distances: Vec<f32> = (0..=all.len() - 64)
                .step_by(8)
                .map(|start| (0..32).map(|k| (all[start + k] - last[k]).abs()).sum())
                .collect();
            distances.sort_by(f32::total_cmp);
            let expected = f64::from(distances[..5].iter().sum::<f32>()) / 5.0;
            assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_missed_beat_is_far_from_all_that_was_there() {
        let mut shape = Shape::default();
        let beat = |at: usize| if at % 21 < 2 { 10.0 } else { 0.0 };
        for at in 0..4200 {
            // Each phase of the beat was there five times.
            let distance = shape.push(beat(at));
            assert!(at < 2000 || distance == 0.0, "{at}: {distance}");
        }
        let missed: Vec<f64> = (0..21).map(|_| shape.push(0.0)).collect();
        assert_eq!(missed[20], 20.0);
        assert!(missed[1] == 20.0 && missed[0] == 10.0, "{missed:?}");
    }

    #[test]
    fn too_little_past_says_nothing_and_much_is_bounded() {
        let mut shape = Shape::default();
        // 16 subsequences before the last one: starts up to 120, then 32 for the last of them and 32 for the last one of all.
        let distances: Vec<f64> = (0..184).map(|at| shape.push(f64::from(at * at))).collect();
        assert!(distances[..183].iter().all(|d| *d == 0.0));
        assert!(distances[183] > 0.0);
        for at in 0..12_000 {
            assert!(shape.push(1e300 * f64::from(at % 3 - 1)).is_finite());
            assert!(shape.past.len() <= MEMORY + SLACK);
        }
        assert_eq!((MEMORY % STRIDE, SLACK % STRIDE), (0, 0));
    }
}
