//! The nearest neighbour of every window of a series.

use std::error::Error;
use std::rc::Rc;

use benches::Random;
use kernels::matrix_profile::{ProfileOptions, matrix_profile};

use super::{Case, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (samples, window) = (setup.size("samples", 100_000), setup.size("window", 256));
    let few = setup.size("few", 20_000).min(samples);
    let series = Rc::new(waves(samples));
    setup.write("x.f64", &series, f64::to_le_bytes)?;
    let case = |name, samples: usize, note: String| {
        let series = series.clone();
        let run = move || {
            let work = || {
                matrix_profile(
                    &series[..samples],
                    &ProfileOptions::window(window),
                    &setup.execution,
                )
            };
            timed(work, |found| {
                let distances = found.profile.distances();
                // Both ends of the order, and windows between.
                let most =
                    found.discords(1).iter().map(|discord| discord.distance).collect::<Vec<_>>();
                let least = found.motifs(1).iter().map(|motif| motif.distance).collect();
                let step = (distances.len() / 32).max(1);
                [most, least, distances.iter().step_by(step).copied().collect()].concat()
            })
        };
        // Near 0 the peer's distances are off by the root of their correlation's rounding.
        Case { name, peers: &["stumpy"], tolerance: 1e-5, note, run: Box::new(run) }
    };
    Ok(vec![
        case("matrix profile", samples, format!("{samples} samples, window {window}")),
        case("matrix profile, few samples", few, format!("{few} samples, window {window}")),
    ])
}

/// Two waves whose phases wander, and noise: windows resemble each other without being copies.
fn waves(samples: usize) -> Vec<f64> {
    let mut random = Random::new(7);
    let (mut fast, mut slow) = (0.0f64, 0.0f64);
    (0..samples)
        .map(|_| {
            fast += 0.2 + 0.05 * random.normal();
            slow += 0.011 + 0.005 * random.normal();
            fast.sin() + 2.0 * slow.sin() + 0.3 * random.normal()
        })
        .collect()
}
