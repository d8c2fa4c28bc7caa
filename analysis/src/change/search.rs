//! The groups of up to so many pairs, each tallied once: top down and depth first, every group's cells being sorted by the
//! next dimension (Beyer & Ramakrishnan, "Bottom-up computation of sparse and iceberg cubes", SIGMOD 1999). What has too few
//! rows to be judged is left out with all that is in it, and so is what has the same cells as the group around it.
//!
//! **Cost**: cells × subsets of the dimensions of up to that size, in time; on each thread a number for each value, beside the
//! numbers of the cells of one group for each level.

use std::ops::Range;

use rayon::prelude::*;

use super::cells::Dimension;
use super::excess::{Excess, Judge, UNITS_MIN};
use super::tally::{Sums, Tally};
use super::{Halted, Pair};

/// Groups of the first dimension that one thread looks at, at least: each time it needs a table of all values.
const PART_GROUPS: usize = 16;

/// No place yet.
const NOWHERE: u32 = u32::MAX;

/// A group and how it moved.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// In the order of the dimensions.
    pub group: Vec<Pair>,
    /// Beyond the rest.
    pub excess: Excess,
}

/// What was found among the groups of one number of pairs.
#[derive(Clone, Debug, Default)]
pub struct Level {
    /// Groups that were judged.
    pub judged: u64,
    /// The one of most weight; of equal ones the first in order.
    pub best: Option<Candidate>,
}

/// A search among some cells.
pub struct Search<'a, S> {
    /// All dimensions.
    pub dimensions: &'a [Dimension],
    /// Their numbers in the order in which they are sorted by: those of many values first, so that what has too few rows is
    /// left out early.
    pub order: &'a [usize],
    /// By cell.
    pub sums: &'a [S],
    /// The cells together.
    pub judge: Judge,
    /// Most pairs of a group.
    pub depth: usize,
    /// Groups that are no candidates.
    pub excluded: &'a (dyn Fn(&[Pair], &Tally, &Excess) -> bool + Sync),
    /// Whether to stop.
    pub is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// The sums of one value.
struct Group<S> {
    value: u32,
    cells: u32,
    sums: S,
}

/// A group among the cells around it.
struct Found<'a, S> {
    /// Of its dimension in the order.
    place: usize,
    group: &'a Group<S>,
    /// Its cells; none where nobody looks further.
    cells: &'a [u32],
    /// How many cells are around it.
    around: usize,
}

impl Level {
    fn could_be(&self, excess: &Excess) -> bool {
        self.best.as_ref().is_none_or(|best| excess.weight() >= best.excess.weight())
    }

    fn take(&mut self, candidate: Candidate) {
        let is_better = self.best.as_ref().is_none_or(|best| {
            let (ours, theirs) = (candidate.excess.weight(), best.excess.weight());
            ours > theirs || ours == theirs && candidate.group < best.group
        });
        if is_better {
            self.best = Some(candidate);
        }
    }

    fn merge(&mut self, other: Self) {
        self.judged += other.judged;
        if let Some(best) = other.best {
            self.take(best);
        }
    }
}

impl<S: Sums> Search<'_, S> {
    /// Looks through all groups of these cells. One level for each number of pairs.
    pub fn run(&self, cells: &[u32]) -> Result<Vec<Level>, Halted> {
        let of_dimension = |place: usize| {
            let mut places = Vec::new();
            let groups = self.groups(cells, self.order[place], &mut places)?;
            let sorted = self.sorted(cells, self.order[place], &groups, &mut places);
            let parts: Vec<_> = groups.iter().zip(ranges(&groups)).collect();
            parts
                .into_par_iter()
                .with_min_len(PART_GROUPS)
                .map_init(Vec::new, |places, (group, range)| {
                    let mut levels = vec![Level::default(); self.depth];
                    let found = Found { place, group, cells: &sorted[range], around: cells.len() };
                    self.look(&found, &mut Vec::new(), places, &mut levels)?;
                    Ok(levels)
                })
                .try_reduce(Vec::new, merged)
        };
        (0..self.order.len()).into_par_iter().map(of_dimension).try_reduce(Vec::new, merged)
    }

    /// Judges one group, and those in it by later dimensions.
    fn look(
        &self,
        found: &Found<S>,
        pairs: &mut Vec<Pair>,
        places: &mut Vec<u32>,
        levels: &mut [Level],
    ) -> Result<(), Halted> {
        let tally = found.group.sums.tally();
        if tally.units() < UNITS_MIN || found.group.cells as usize == found.around {
            return Ok(());
        }
        let depth = pairs.len();
        pairs.push(Pair { dimension: self.order[found.place], value: found.group.value });
        if let Some(excess) = self.judge.excess(&tally) {
            levels[depth].judged += 1;
            if levels[depth].could_be(&excess) && !(self.excluded)(pairs, &tally, &excess) {
                let mut group = pairs.clone();
                group.sort_unstable();
                levels[depth].take(Candidate { group, excess });
            }
        }
        if depth + 1 < levels.len() {
            for place in found.place + 1..self.order.len() {
                self.look_in(found.cells, place, pairs, places, levels)?;
            }
        }
        pairs.pop();
        Ok(())
    }

    /// Judges the groups of some cells by one more dimension.
    fn look_in(
        &self,
        cells: &[u32],
        place: usize,
        pairs: &mut Vec<Pair>,
        places: &mut Vec<u32>,
        levels: &mut [Level],
    ) -> Result<(), Halted> {
        let groups = self.groups(cells, self.order[place], places)?;
        let is_last = pairs.len() + 1 == levels.len() || place + 1 == self.order.len();
        // Nobody asks which cells the last ones have.
        let sorted = match is_last {
            true => Vec::new(),
            false => self.sorted(cells, self.order[place], &groups, places),
        };
        if is_last {
            groups.iter().for_each(|group| places[group.value as usize] = NOWHERE);
        }
        for (group, range) in groups.iter().zip(ranges(&groups)) {
            let within = sorted.get(range).unwrap_or_default();
            let found = Found { place, group, cells: within, around: cells.len() };
            self.look(&found, pairs, places, levels)?;
        }
        Ok(())
    }

    /// The groups of a dimension in the order in which they come; `places` then holds the place of each value.
    fn groups(
        &self,
        cells: &[u32],
        number: usize,
        places: &mut Vec<u32>,
    ) -> Result<Vec<Group<S>>, Halted> {
        if (self.is_stopped)() {
            return Err(Halted);
        }
        let dimension = &self.dimensions[number];
        if places.len() < dimension.values as usize {
            places.resize(dimension.values as usize, NOWHERE);
        }
        let mut groups: Vec<Group<S>> = Vec::new();
        for &cell in cells {
            let value = dimension.codes[cell as usize];
            let place = &mut places[value as usize];
            if *place == NOWHERE {
                *place = groups.len() as u32;
                groups.push(Group { value, cells: 0, sums: S::default() });
            }
            let group = &mut groups[*place as usize];
            group.cells += 1;
            group.sums.add(&self.sums[cell as usize]);
        }
        Ok(groups)
    }

    /// The cells group by group, each group's in their order; `places` is empty again.
    fn sorted(
        &self,
        cells: &[u32],
        number: usize,
        groups: &[Group<S>],
        places: &mut [u32],
    ) -> Vec<u32> {
        let codes = &self.dimensions[number].codes;
        for (group, range) in groups.iter().zip(ranges(groups)) {
            places[group.value as usize] = range.start as u32;
        }
        let mut sorted = vec![0; cells.len()];
        for &cell in cells {
            let place = &mut places[codes[cell as usize] as usize];
            sorted[*place as usize] = cell;
            *place += 1;
        }
        groups.iter().for_each(|group| places[group.value as usize] = NOWHERE);
        sorted
    }
}

/// Where the cells of each group are, one group after the other.
fn ranges<S>(groups: &[Group<S>]) -> impl Iterator<Item = Range<usize>> {
    groups.iter().scan(0, |end, group| {
        let start = *end;
        *end += group.cells as usize;
        Some(start..*end)
    })
}

fn merged(mut levels: Vec<Level>, other: Vec<Level>) -> Result<Vec<Level>, Halted> {
    if levels.is_empty() {
        return Ok(other);
    }
    levels.iter_mut().zip(other).for_each(|(level, other)| level.merge(other));
    Ok(levels)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::cells::Measure;
    use super::super::excess::Background;
    use super::super::tally::{Side, total};
    use super::*;
    use crate::noise::Noise;

    const CELLS: usize = 800;

    /// Counts in four dimensions of 3 to 6 values.
    fn made() -> (Vec<Dimension>, Vec<Tally>) {
        let mut noise = Noise::new(5);
        let dimension = |values: u32| Dimension {
            name: String::new(),
            values,
            codes: (0..CELLS)
                .map(|_| (noise.uniform().powi(2) * f64::from(values)) as u32)
                .collect(),
        };
        let dimensions = [4, 3, 6, 5].map(dimension).to_vec();
        let mut side = || {
            let n = (6.0 * noise.uniform()).floor();
            Side { n, units: n, nn: n, ..Side::default() }
        };
        let sums = (0..CELLS).map(|_| Tally { earlier: side(), later: side() }).collect();
        (dimensions, sums)
    }

    fn search<'a>(dimensions: &'a [Dimension], sums: &'a [Tally]) -> Search<'a, Tally> {
        let judge = Judge {
            measure: Measure::Sum,
            background: Background::Factor,
            dispersion: 1.0,
            all: total(sums),
        };
        Search {
            dimensions,
            order: &[0, 1, 2, 3],
            sums,
            judge,
            depth: 3,
            excluded: &|_, _, _| false,
            is_stopped: &|| false,
        }
    }

    fn all() -> Vec<u32> {
        (0..CELLS as u32).collect()
    }

    /// Every group of so many pairs, each summed by itself.
    fn by_force(search: &Search<Tally>, pairs: usize) -> Vec<Candidate> {
        let mut groups: Vec<Vec<Pair>> = vec![Vec::new()];
        for _ in 0..pairs {
            let longer = |group: &Vec<Pair>| {
                let from = group.last().map_or(0, |pair| pair.dimension + 1);
                let group = group.clone();
                (from..4).flat_map(move |dimension| {
                    let group = group.clone();
                    (0..6).map(move |value| [&group[..], &[Pair { dimension, value }]].concat())
                })
            };
            groups = groups.iter().flat_map(longer).collect();
        }
        let judged = |group: Vec<Pair>| {
            let is_in = |cell: &usize| {
                group
                    .iter()
                    .all(|pair| search.dimensions[pair.dimension].codes[*cell] == pair.value)
            };
            let tally = total((0..CELLS).filter(is_in).map(|cell| &search.sums[cell]));
            search.judge.excess(&tally).map(|excess| Candidate { group, excess })
        };
        groups.into_iter().filter_map(judged).collect()
    }

    #[test]
    fn every_group_is_judged_once_and_the_best_is_kept() {
        let (dimensions, sums) = made();
        let mut search = search(&dimensions, &sums);
        for order in &[[0, 1, 2, 3], [2, 3, 0, 1]] {
            search.order = order;
            let levels = search.run(&all()).unwrap();
            for (pairs, level) in levels.iter().enumerate() {
                let mut expected = by_force(&search, pairs + 1);
                assert_eq!(level.judged, expected.len() as u64, "{pairs}");
                expected.sort_by(|a, b| b.excess.weight().total_cmp(&a.excess.weight()));
                let best = level.best.as_ref().unwrap();
                assert_eq!(best.group, expected[0].group);
                assert!((best.excess.z - expected[0].excess.z).abs() < 1e-9);
            }
            assert!(levels.len() == 3 && levels[2].judged > 50);
        }
        search.depth = 2;
        assert_eq!(search.run(&all()).unwrap().len(), 2);
    }

    #[test]
    fn what_is_excluded_is_judged_and_is_not_the_best() {
        let (dimensions, sums) = made();
        let first = search(&dimensions, &sums).run(&all()).unwrap();
        let best = first[1].best.clone().unwrap().group;
        let excluded = |group: &[Pair], _: &Tally, _: &Excess| group == best;
        let second = Search { excluded: &excluded, ..search(&dimensions, &sums) };
        let second = second.run(&all()).unwrap();
        let others: Vec<Candidate> = by_force(&search(&dimensions, &sums), 2)
            .into_iter()
            .filter(|other| other.group != best)
            .collect();
        let most = others.iter().map(|other| other.excess.weight()).fold(0.0, f64::max);
        assert!((second[1].best.as_ref().unwrap().excess.weight() - most).abs() < 1e-9);
        assert_eq!(second[1].judged, first[1].judged);
    }

    #[test]
    fn the_same_cells_are_one_group_and_the_first_dimension_names_them() {
        let (mut dimensions, sums) = made();
        // A dimension twice: nothing is new in both together.
        dimensions[3] = dimensions[0].clone();
        let levels = search(&dimensions, &sums).run(&all()).unwrap();
        let alone = Search { order: &[0, 1, 2], ..search(&dimensions, &sums) };
        let alone = alone.run(&all()).unwrap();
        let singles = dimensions[0].values as u64;
        assert_eq!(levels[0].judged, alone[0].judged + singles);
        // In whatever order they come.
        let reversed = Search { order: &[1, 3, 2, 0], ..search(&dimensions, &sums) };
        let reversed = reversed.run(&all()).unwrap();
        for ((level, reversed), alone) in levels.iter().zip(&reversed).zip(&alone) {
            assert_eq!(level.best, alone.best);
            assert_eq!(reversed.best.as_ref().unwrap().group, alone.best.as_ref().unwrap().group);
        }
        // One value: all cells are no group.
        dimensions[3].codes.fill(2);
        let constant = search(&dimensions, &sums).run(&all()).unwrap();
        for (level, alone) in constant.iter().zip(&alone) {
            assert_eq!((level.judged, &level.best), (alone.judged, &alone.best));
        }
    }

    #[test]
    fn it_stops_when_asked_to() {
        let (dimensions, sums) = made();
        let asked = AtomicUsize::new(0);
        let after = |times: usize| {
            let is_stopped = || asked.fetch_add(1, Ordering::Relaxed) >= times;
            let stopping = Search { is_stopped: &is_stopped, ..search(&dimensions, &sums) };
            stopping.run(&all()).map(|levels| levels.len())
        };
        assert_eq!(after(usize::MAX), Ok(3));
        let asked_in_all = asked.swap(0, Ordering::Relaxed);
        assert!(asked_in_all > 50, "{asked_in_all}");
        for times in [0, 3, asked_in_all - 1] {
            asked.store(0, Ordering::Relaxed);
            assert_eq!(after(times), Err(Halted));
        }
    }
}
