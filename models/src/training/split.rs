//! Rows into a part to learn from and a part held out, stratified by class and without a group in both: rows that are
//! one thing (a customer's tickets, copies of one text) are never on both sides, where they would be told apart by
//! memory alone.

use std::collections::BTreeMap;

use super::random::Random;
use crate::error::{Error, Result};

/// Two parts of the rows, each in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// Rows to learn from.
    pub train: Vec<usize>,
    /// Rows held out.
    pub held_out: Vec<usize>,
}

/// Splits rows so that about `share` of each class is held out. `groups`, where given, has one value for each row;
/// rows of equal value stay together. The same arguments give the same split.
///
/// A group goes as a whole to the class that most of its rows have. Groups are drawn in an order by the seed and held
/// out while their class still has fewer rows held out than it should have by then; a class of one group is learned
/// from. Fails for a share that is not between 0 and 1, for another number of groups than rows, and where nothing
/// is left on one side.
pub fn split(classes: &[usize], groups: Option<&[u64]>, share: f64, seed: u64) -> Result<Split> {
    if !(share > 0.0 && share < 1.0) {
        return fail(format!("split: expected a share between 0 and 1, found {share}"));
    }
    if let Some(groups) = groups.filter(|groups| groups.len() != classes.len()) {
        let problem = format!("split: expected {} groups, found {}", classes.len(), groups.len());
        return fail(problem);
    }
    let mut rows_of: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for row in 0..classes.len() {
        let group = groups.map_or(row as u64, |groups| groups[row]);
        rows_of.entry(group).or_default().push(row);
    }
    let mut groups_of: BTreeMap<usize, Vec<Vec<usize>>> = BTreeMap::new();
    for rows in rows_of.into_values() {
        groups_of.entry(most_common(&rows, classes)).or_default().push(rows);
    }
    let mut split = Split::default();
    for (class, mut groups) in groups_of {
        Random::new(seed, class as u64).shuffle(&mut groups);
        let all: usize = groups.iter().map(Vec::len).sum();
        let wanted = (all as f64 * share).round() as usize;
        let last = groups.len() - 1;
        let mut held = 0;
        for (at, rows) in groups.into_iter().enumerate() {
            // The last group is learned from if no other is.
            let fits = held + rows.len() <= wanted && (at < last || held + rows.len() < all);
            if fits {
                held += rows.len();
                split.held_out.extend(rows);
            } else {
                split.train.extend(rows);
            }
        }
    }
    split.train.sort_unstable();
    split.held_out.sort_unstable();
    if split.train.is_empty() || split.held_out.is_empty() {
        return fail(format!(
            "split: expected rows on both sides, found {} and {}",
            split.train.len(),
            split.held_out.len()
        ));
    }
    Ok(split)
}

/// The class that most rows have, of several the first.
fn most_common(rows: &[usize], classes: &[usize]) -> usize {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    rows.iter().for_each(|row| *counts.entry(classes[*row]).or_default() += 1);
    let most = counts.into_iter().max_by_key(|(class, count)| (*count, std::cmp::Reverse(*class)));
    most.map_or(0, |(class, _)| class)
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Training { problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_group_is_on_both_sides_and_every_class_has_its_share() {
        let classes: Vec<usize> = (0..900).map(|row| row % 3).collect();
        let groups: Vec<u64> = (0..900).map(|row| row as u64 / 7).collect();
        for seed in 0..20 {
            let split = split(&classes, Some(&groups), 0.2, seed).unwrap();
            let side =
                |rows: &[usize]| rows.iter().map(|row| groups[*row]).collect::<BTreeSet<_>>();
            assert!(side(&split.train).is_disjoint(&side(&split.held_out)), "seed {seed}");
            let mut all = [split.train.clone(), split.held_out.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..900).collect::<Vec<_>>());
            assert!((150..=210).contains(&split.held_out.len()), "{}", split.held_out.len());
        }
    }

    #[test]
    fn without_groups_every_class_has_its_share_exactly() {
        let classes: Vec<usize> = (0..100).map(|row| usize::from(row >= 90)).collect();
        let one = split(&classes, None, 0.2, 1).unwrap();
        let of = |class| one.held_out.iter().filter(|row| classes[**row] == class).count();
        assert_eq!((of(0), of(1)), (18, 2));
        assert_eq!(one, split(&classes, None, 0.2, 1).unwrap());
        assert_ne!(one, split(&classes, None, 0.2, 2).unwrap());
    }

    #[test]
    fn a_split_that_can_not_be_made_says_why() {
        let says = |classes: &[usize], groups: Option<&[u64]>, share| {
            split(classes, groups, share, 0).unwrap_err().to_string()
        };
        assert!(says(&[0, 1], None, 1.0).contains("between 0 and 1, found 1"));
        assert!(says(&[0, 1], Some(&[1]), 0.5).contains("expected 2 groups, found 1"));
        assert!(says(&[0, 1], Some(&[1, 1]), 0.5).contains("both sides, found 2 and 0"));
        assert!(says(&[], None, 0.5).contains("found 0 and 0"));
    }
}
