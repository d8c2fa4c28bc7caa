//! Cases to learn from, to choose by, and to tell of, by time.

use super::history::History;

/// Part of the cases, by their begin, before which those lie that are learned from, and before which those are chosen by.
const CUTS: [f64; 2] = [0.6, 0.8];
/// Cases of each that it takes.
pub const LEAST: [usize; 3] = [20, 10, 10];

/// Cases that have ended, none of them in two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Ended before the first cut: what was known then.
    pub train: Vec<u32>,
    /// Begun from the first cut on and before the second one.
    pub validation: Vec<u32>,
    /// Begun from the second cut on.
    pub test: Vec<u32>,
    /// Begun before the first cut and ended after it: in none.
    pub across: usize,
    /// The cuts.
    pub cuts_us: [i64; 2],
}

impl Split {
    /// Of cases that have ended.
    pub fn of(history: &History<'_>, ended: &[u32]) -> Self {
        let mut begins: Vec<i64> = ended.iter().map(|case| history.begins_us(*case)).collect();
        begins.sort_unstable();
        let cut = |share: f64| {
            let place = (share * begins.len() as f64).ceil() as usize;
            begins.get(place).copied().unwrap_or(i64::MAX)
        };
        let cuts_us = CUTS.map(cut);
        let mut split = Self { cuts_us, ..Self::default() };
        for case in ended {
            let (begins, ends) = (history.begins_us(*case), history.ends_us(*case));
            match () {
                () if begins >= cuts_us[1] => split.test.push(*case),
                () if begins >= cuts_us[0] => split.validation.push(*case),
                () if ends < cuts_us[0] => split.train.push(*case),
                () => split.across += 1,
            }
        }
        split
    }

    /// How many cases each has.
    pub fn counts(&self) -> [usize; 3] {
        [self.train.len(), self.validation.len(), self.test.len()]
    }

    /// What is too few to say anything, if it is.
    pub fn problem(&self) -> Option<String> {
        let parts = ["to learn from", "to choose by", "to be held against"];
        let short =
            parts.iter().zip(self.counts()).zip(LEAST).find(|((_, found), least)| found < least);
        short.map(|((part, found), least)| {
            format!("expected at least {least} ended cases {part}, found {found}")
        })
    }
}
