//! The pairs that are compared, and what they have in common.
//!
//! Candidates are made in parts of [`PART_ROWS`] rows on all threads, first to count their patterns and then to score them; up to
//! [`LEARN_PAIRS`] of them are kept in between with their patterns, 16 bytes each, more are compared a second time. Sums
//! are of whole numbers, so that the result does not depend on the number of threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::blocking::{Blocks, pairs, pairs_at};
use super::compare::{Pattern, Records};
use super::fellegi_sunter::Counts;
use crate::noise::nth;

/// Rows of one part of the work.
const PART_ROWS: usize = 1024;

/// Candidates whose patterns are learnt from, about; of more, every k-th part is taken.
const LEARN_PAIRS: u64 = 4_000_000;

/// Random pairs that stand for all.
const SAMPLE_PAIRS: u64 = 200_000;

/// Two rows that are one; the first is the smaller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordLink {
    /// One row.
    pub first: usize,
    /// The other.
    pub second: usize,
    /// How probable it is that they are one.
    pub probability: f64,
}

/// Why the work was not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halted {
    /// It was asked to stop.
    Stopped,
    /// There are more links than were allowed.
    TooManyLinks,
}

/// A candidate and its pattern.
type Compared = (u32, u32, Pattern);

/// The pairs that blocks make.
pub struct Candidates<'a> {
    records: &'a Records,
    blocks: &'a [Blocks],
    /// Rules and positions of their rows.
    parts: Vec<(usize, Range<usize>)>,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
    /// By part, where all were compared to learn from them.
    kept: Option<Vec<Vec<Compared>>>,
}

impl<'a> Candidates<'a> {
    /// The pairs of `blocks`. `is_stopped` is asked between parts of the work.
    pub fn new(
        records: &'a Records,
        blocks: &'a [Blocks],
        is_stopped: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let of_rule = |(rule, blocks): (usize, &Blocks)| {
            let rows = blocks.rows();
            (0..rows).step_by(PART_ROWS).map(move |at| (rule, at..(at + PART_ROWS).min(rows)))
        };
        let parts = blocks.iter().enumerate().flat_map(of_rule).collect();
        Self { records, blocks, parts, is_stopped, kept: None }
    }

    fn check(&self) -> Result<(), Halted> {
        if (self.is_stopped)() { Err(Halted::Stopped) } else { Ok(()) }
    }

    /// How many candidates have each pattern.
    pub fn count(&mut self) -> Result<Counts, Halted> {
        let every = pairs(self.blocks).div_ceil(LEARN_PAIRS).max(1);
        let of_part = |(rule, positions): &(usize, Range<usize>)| {
            self.check()?;
            let mut compared: Vec<Compared> = Vec::new();
            let mut halting = Halting::new(self.is_stopped);
            pairs_at(self.blocks, *rule, positions.clone(), &mut |a, b| {
                if halting.goes_on() {
                    compared.push((a as u32, b as u32, self.records.pattern(a, b)));
                }
            });
            halting.ended(compared)
        };
        let some = self.parts.par_iter().step_by(every as usize);
        let compared = some.map(of_part).collect::<Result<Vec<_>, Halted>>()?;
        let mut counts = Counts::new();
        for &(_, _, pattern) in compared.iter().flatten() {
            *counts.entry(pattern).or_default() += every;
        }
        if every == 1 {
            self.kept = Some(compared);
        }
        Ok(counts)
    }

    /// The patterns of random pairs, the same ones in every run; all pairs where there are no more.
    pub fn sample(&self) -> Result<Counts, Halted> {
        let rows = self.records.len() as u64;
        let all = rows * rows.saturating_sub(1) / 2;
        let wanted = all.min(SAMPLE_PAIRS);
        let parts = wanted.div_ceil(PART_ROWS as u64);
        let of_part = |part: u64| {
            self.check()?;
            let mut counts = Counts::new();
            let start = part * PART_ROWS as u64;
            for number in start..(start + PART_ROWS as u64).min(wanted) {
                let (a, b) =
                    if wanted == all { nth_pair(number) } else { random_pair(number, rows) };
                *counts.entry(self.records.pattern(a, b)).or_default() += 1;
            }
            Ok(counts)
        };
        (0..parts).into_par_iter().map(of_part).try_reduce(Counts::new, |a, b| Ok(merged(a, b)))
    }

    /// Those with a probability of at least `threshold`, by first and then second row, and how many there were. `probability`
    /// is given the pattern where it is known.
    pub fn score(
        &self,
        threshold: f64,
        links_max: usize,
        probability: &(dyn Fn(usize, usize, Option<Pattern>) -> f64 + Sync),
    ) -> Result<(u64, Vec<RecordLink>), Halted> {
        let found = AtomicUsize::new(0);
        let of_part = |part: usize| {
            self.check()?;
            let (mut compared, mut links) = (0, Vec::new());
            let mut halting = Halting::new(self.is_stopped);
            let mut take = |first: usize, second: usize, pattern: Option<Pattern>| {
                if !halting.goes_on() {
                    return;
                }
                compared += 1;
                let probability = probability(first, second, pattern);
                if probability >= threshold {
                    links.push(RecordLink { first, second, probability });
                }
            };
            match &self.kept {
                Some(kept) => kept[part]
                    .iter()
                    .for_each(|&(a, b, pattern)| take(a as usize, b as usize, Some(pattern))),
                None => {
                    let (rule, positions) = &self.parts[part];
                    let mut each = |a, b| take(a, b, None);
                    pairs_at(self.blocks, *rule, positions.clone(), &mut each);
                }
            }
            let (compared, links) = halting.ended((compared, links))?;
            if found.fetch_add(links.len(), Ordering::Relaxed) + links.len() > links_max {
                return Err(Halted::TooManyLinks);
            }
            Ok((compared, links))
        };
        let parts = (0..self.parts.len()).into_par_iter().map(of_part);
        let (compared, mut links) = parts.try_reduce(Default::default, |mut a, mut b| {
            a.0 += b.0;
            a.1.append(&mut b.1);
            Ok(a)
        })?;
        links.sort_unstable_by_key(|link| (link.first, link.second));
        Ok((compared, links))
    }

    /// One in `every` of the candidates with a probability below `limit`, the same ones in every run.
    pub fn some_below(
        &self,
        limit: f64,
        every: u64,
        probability: &(dyn Fn(usize, usize, Option<Pattern>) -> f64 + Sync),
    ) -> Result<Vec<RecordLink>, Halted> {
        let is_chosen = |first: usize, second: usize, pattern| {
            let pair = (first as u64) << 32 | second as u64;
            let is_below = || probability(first, second, pattern) < limit;
            f64::from(u8::from(nth(pair).is_multiple_of(every.max(1)) && is_below()))
        };
        Ok(self.score(1.0, usize::MAX, &is_chosen)?.1)
    }
}

/// Pairs after which it is asked again whether to stop: a pair of long texts takes a millisecond.
const HALT_PAIRS: usize = 256;

/// Asks now and then whether to stop.
struct Halting<'a> {
    is_stopped: &'a (dyn Fn() -> bool + Sync),
    pairs: usize,
    is_halted: bool,
}

impl<'a> Halting<'a> {
    fn new(is_stopped: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { is_stopped, pairs: 0, is_halted: false }
    }

    /// Whether the next pair is to be looked at.
    fn goes_on(&mut self) -> bool {
        self.pairs += 1;
        self.is_halted |= self.pairs.is_multiple_of(HALT_PAIRS) && (self.is_stopped)();
        !self.is_halted
    }

    /// What was found, unless it was stopped on the way.
    fn ended<T>(self, found: T) -> Result<T, Halted> {
        if self.is_halted { Err(Halted::Stopped) } else { Ok(found) }
    }
}

/// Pair number n of (0, 1), (0, 2), (1, 2), (0, 3), …
fn nth_pair(number: u64) -> (usize, usize) {
    let mut second = ((8.0 * number as f64 + 1.0).sqrt() as u64).div_ceil(2);
    while second * (second + 1) / 2 <= number {
        second += 1;
    }
    while second * (second - 1) / 2 > number {
        second -= 1;
    }
    ((number - second * (second - 1) / 2) as usize, second as usize)
}

/// Two different rows, from a hash of the number.
fn random_pair(number: u64, rows: u64) -> (usize, usize) {
    let a = nth(2 * number) % rows;
    let b = (a + 1 + nth(2 * number + 1) % (rows - 1)) % rows;
    (a as usize, b as usize)
}

fn merged(a: Counts, b: Counts) -> Counts {
    let (mut more, fewer) = if a.len() < b.len() { (b, a) } else { (a, b) };
    fewer.into_iter().for_each(|(pattern, count)| *more.entry(pattern).or_default() += count);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_stopped_looks_at_few_more_pairs_and_says_so() {
        let mut halting = Halting::new(&|| true);
        let seen = (0..10_000).filter(|_| halting.goes_on()).count();
        assert_eq!((seen, halting.ended(())), (HALT_PAIRS - 1, Err(Halted::Stopped)));
        let mut halting = Halting::new(&|| false);
        assert!((0..10_000).all(|_| halting.goes_on()));
        assert_eq!(halting.ended(1), Ok(1));
    }

    #[test]
    fn every_pair_has_a_number_and_random_ones_are_of_two_rows() {
        let mut expected = (1..40).flat_map(|b| (0..b).map(move |a| (a, b)));
        assert!((0..780).all(|number| Some(nth_pair(number)) == expected.next()));
        let far = 3_000_000_000_u64;
        let (a, b) = nth_pair(far);
        assert_eq!(b as u64 * (b as u64 - 1) / 2 + a as u64, far);
        for number in 0..1000 {
            let (a, b) = random_pair(number, 7);
            assert!(a != b && a < 7 && b < 7);
        }
    }
}
