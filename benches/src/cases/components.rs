//! Connected components of random pairs.

use std::error::Error;

use benches::Random;
use kernels::components::Components;

use super::{Case, timed};
use crate::setup::Setup;

pub(super) fn cases(setup: &Setup) -> Result<Vec<Case<'_>>, Box<dyn Error>> {
    let (nodes, count) = (setup.size("nodes", 1_000_000), setup.size("pairs", 1_000_000));
    let mut random = Random::new(13);
    let mut node = || (random.bits() % nodes as u64) as u32;
    let pairs: Vec<(u32, u32)> = (0..count).map(|_| (node(), node())).collect();
    let flat: Vec<u32> = pairs.iter().flat_map(|&(a, b)| [a, b]).collect();
    setup.write("pairs.u32", &flat, u32::to_le_bytes)?;
    let run = move || {
        let work = || {
            let mut components = Components::<u32>::new(nodes)?;
            components.add(&pairs)?;
            let labels = components.labels().to_vec();
            Ok((components.count(), labels))
        };
        timed(work, |(count, labels)| sample(count, &labels))
    };
    Ok(vec![Case {
        name: "connected components",
        peers: &["scipy", "scipy, matrix made before"],
        tolerance: 0.0,
        note: "one thread each".into(),
        run: Box::new(run),
    }])
}

/// The number of components, the number of nodes in the largest one, and the sum of its nodes.
fn sample(count: usize, labels: &[u32]) -> Vec<f64> {
    let mut sizes = vec![0u32; labels.len()];
    for &label in labels {
        sizes[label as usize] += 1;
    }
    let largest = (0..labels.len()).max_by_key(|&label| sizes[label]).unwrap_or(0);
    let nodes = labels.iter().enumerate().filter(|(_, label)| **label as usize == largest);
    vec![count as f64, f64::from(sizes[largest]), nodes.map(|(node, _)| node as f64).sum()]
}
