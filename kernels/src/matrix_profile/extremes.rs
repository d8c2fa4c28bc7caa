//! The windows that stand out of a profile: discords, far from every other, and motifs, that repeat.

use super::SelfJoin;
use super::sweep::NONE;

/// A window that is unlike every other of its series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Discord {
    /// The window, by its first sample.
    pub window: usize,
    /// The window that is nearest to it.
    pub neighbour: usize,
    /// How far that is.
    pub distance: f64,
}

/// Two windows that are alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Motif {
    /// The earlier window, by its first sample.
    pub first: usize,
    /// The later one.
    pub second: usize,
    /// Their distance.
    pub distance: f64,
}

impl SelfJoin {
    /// The `count` windows farthest from their nearest neighbour, from the farthest; no two within the exclusion
    /// zone of each other. Fewer where the series has no more. Windows without any neighbour are none.
    pub fn discords(&self, count: usize) -> Vec<Discord> {
        self.discords_apart(count, 0)
    }

    /// The same where no two begin within fewer than `least` samples of each other: with the length of a window they do not overlap.
    pub fn discords_apart(&self, count: usize, least: usize) -> Vec<Discord> {
        let mut found: Vec<Discord> = Vec::new();
        for window in self.ordered(|a, b| b.total_cmp(&a)) {
            if found.len() >= count {
                break;
            }
            let is_apart = |other: &Discord| {
                self.apart(window, other.window) && window.abs_diff(other.window) >= least
            };
            if found.iter().all(is_apart) {
                let neighbour = self.profile.indices[window] as usize;
                let distance = self.profile.distances[window];
                found.push(Discord { window, neighbour, distance });
            }
        }
        found
    }

    /// The `count` pairs of windows that are nearest to each other, from the nearest; no window of a pair within
    /// the exclusion zone of a window of another. Fewer where the series has no more.
    pub fn motifs(&self, count: usize) -> Vec<Motif> {
        let mut found: Vec<Motif> = Vec::new();
        for window in self.ordered(|a, b| a.total_cmp(&b)) {
            if found.len() >= count {
                break;
            }
            let neighbour = self.profile.indices[window] as usize;
            let free = |window| {
                found
                    .iter()
                    .all(|pair| self.apart(window, pair.first) && self.apart(window, pair.second))
            };
            if free(window) && free(neighbour) {
                let distance = self.profile.distances[window];
                let (first, second) = (window.min(neighbour), window.max(neighbour));
                found.push(Motif { first, second, distance });
            }
        }
        found
    }

    fn apart(&self, a: usize, b: usize) -> bool {
        a.abs_diff(b) > self.zone
    }

    /// The windows that have a neighbour, by distance; of equals the earlier comes first.
    fn ordered(
        &self,
        order: impl Fn(f64, f64) -> std::cmp::Ordering,
    ) -> impl Iterator<Item = usize> {
        let Self { profile, .. } = self;
        let mut windows: Vec<u32> = (0..)
            .zip(&profile.indices)
            .filter(|&(_, &index)| index != NONE)
            .map(|(at, _)| at)
            .collect();
        let distance = |window: u32| profile.distances[window as usize];
        windows.sort_unstable_by(|&a, &b| order(distance(a), distance(b)).then(a.cmp(&b)));
        windows.into_iter().map(|window| window as usize)
    }
}
