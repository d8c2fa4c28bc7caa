//! The probability that two records are one, learnt without labels.
//!
//! **Model** (Fellegi & Sunter, "A theory for record linkage", 1969). Of all N·(N − 1)/2 pairs a share λ are duplicates. In field f a
//! duplicate is at level l with probability m_fl, another pair with u_fl; fields are independent given which of
//! both it is, and a missing value says nothing:
//!
//! ```text
//!   log odds(pair) = log λ/(1 − λ) + Σ_f log m_fl/u_fl        over the fields that both records have
//! ```
//!
//! **Estimate** by expectation and maximisation over all pairs (Winkler, "Using the EM algorithm for weight computation in the
//! Fellegi–Sunter model of record linkage", 1988). Only candidates can be looked at, so the others are taken for no duplicates:
//! their levels are those of all pairs (an even random sample of them; of the level "the same" the exact count) less those of
//! the candidates. So u is that of all pairs and not that of candidates, which agree in something by choice.
//!
//! **Term frequency** (Winkler 1989; as in Splink): agreement on a rare value says more. At the level "the same" u is replaced by
//! the share of other rows that have this value, kept within a factor of [`TERM_FACTOR`] of u.
//!
//! **Hazards.** Fields that go together (postcode and suburb) count twice: probabilities near 0 and 1 are too sure of
//! themselves. What has no duplicates at all still gets a λ of [`LEAST_DUPLICATES`] pairs.

use std::collections::HashMap;

use super::Compare;
use super::compare::{LEVEL_MISSING, Pattern, Records, level_of, level_same, levels};

/// Rounds of expectation and maximisation at most; most end far earlier.
const ROUNDS_MAX: usize = 200;

/// The rounds end when no probability changes by more.
const CHANGE_MIN: f64 = 1e-6;

/// The least probability of a level among other pairs, and among duplicates.
const LEAST_OF_OTHERS: f64 = 1e-7;
const LEAST_OF_DUPLICATES: f64 = 1e-4;

/// Duplicates that are assumed where fewer are found.
const LEAST_DUPLICATES: f64 = 0.5;

/// How far the frequency of a value may move u.
const TERM_FACTOR: f64 = 16.0;

/// How many pairs have each pattern.
pub type Counts = HashMap<Pattern, u64>;

/// What was learnt of one field: the probability of each level, the missing one left out (0).
#[derive(Clone, Debug)]
pub struct FieldModel {
    /// How its values are compared.
    pub compare: Compare,
    /// m by level.
    pub of_duplicates: Vec<f64>,
    /// u by level.
    pub of_others: Vec<f64>,
}

/// The model of all fields.
#[derive(Clone, Debug)]
pub struct Model {
    /// By field.
    pub fields: Vec<FieldModel>,
    /// The share λ of duplicates among all pairs.
    pub share: f64,
    /// Rounds of the estimate.
    pub rounds: usize,
}

/// The levels of all pairs of a field, as far as both rows have a value.
struct AllPairs {
    levels: Vec<f64>,
}

impl Model {
    /// Learns from the patterns of the candidates and those of a random sample of all pairs.
    pub fn learn(records: &Records, candidates: &Counts, sample: &Counts) -> Self {
        let rows = records.len() as f64;
        let pairs = (rows * (rows - 1.0) / 2.0).max(1.0);
        let sampled = sample.values().sum::<u64>().max(1) as f64;
        let all: Vec<AllPairs> = (0..records.columns.len())
            .map(|field| AllPairs::of(records, field, sample, pairs / sampled))
            .collect();
        let mut model = Self::start(records, &all, pairs);
        // In one order, so that sums are the same in every run.
        let mut patterns: Vec<(Pattern, f64)> =
            candidates.iter().map(|(&pattern, &count)| (pattern, count as f64)).collect();
        patterns.sort_unstable_by_key(|pattern| pattern.0);
        for round in 1..=ROUNDS_MAX {
            model.rounds = round;
            if model.improve(&patterns, &all, pairs) < CHANGE_MIN {
                break;
            }
        }
        model
    }

    fn start(records: &Records, all: &[AllPairs], pairs: f64) -> Self {
        let field = |(column, all): (&super::column::Column, &AllPairs)| {
            let compare = column.field.compare;
            let mut of_duplicates = vec![0.0; levels(compare)];
            let same = level_same(compare) as usize;
            // Nine of ten agree; the lower the level, the rarer.
            let mut left = 1.0;
            for level in (1..=same).rev() {
                of_duplicates[level] = if level == 1 { left } else { left * 0.9 };
                left -= of_duplicates[level];
            }
            let of_others = normalised(all.levels.clone(), LEAST_OF_OTHERS);
            FieldModel { compare, of_duplicates, of_others }
        };
        Self {
            fields: records.columns.iter().zip(all).map(field).collect(),
            share: (records.len() as f64 / pairs / 4.0).clamp(LEAST_OF_OTHERS, 0.25),
            rounds: 0,
        }
    }

    /// One round. Returns the largest change of a probability.
    fn improve(&mut self, patterns: &[(Pattern, f64)], all: &[AllPairs], pairs: f64) -> f64 {
        let mut duplicates: Vec<Vec<f64>> =
            self.fields.iter().map(|field| vec![0.0; field.of_duplicates.len()]).collect();
        let mut total = 0.0;
        for &(pattern, count) in patterns {
            let expected = count * probability(self.log_odds(pattern));
            total += expected;
            for (field, levels) in duplicates.iter_mut().enumerate() {
                levels[level_of(pattern, field) as usize] += expected;
            }
        }
        let mut change: f64 = 0.0;
        for ((field, found), all) in self.fields.iter_mut().zip(duplicates).zip(all) {
            let mut others: Vec<f64> =
                all.levels.iter().zip(&found).map(|(all, found)| (all - found).max(0.0)).collect();
            others[LEVEL_MISSING as usize] = 0.0;
            let others = normalised(others, LEAST_OF_OTHERS);
            let found = normalised(found, LEAST_OF_DUPLICATES);
            for (old, new) in
                field.of_duplicates.iter().zip(&found).chain(field.of_others.iter().zip(&others))
            {
                change = change.max((old - new).abs());
            }
            (field.of_duplicates, field.of_others) = (found, others);
        }
        let share = (total.max(LEAST_DUPLICATES) / pairs).min(0.5);
        let moved = (share / self.share).ln().abs();
        self.share = share;
        change.max(moved)
    }

    /// Natural logarithm of the odds that a pair of this pattern is one record.
    pub fn log_odds(&self, pattern: Pattern) -> f64 {
        let mut odds = (self.share / (1.0 - self.share)).ln();
        for (index, field) in self.fields.iter().enumerate() {
            let level = level_of(pattern, index) as usize;
            if level != LEVEL_MISSING as usize {
                odds += (field.of_duplicates[level] / field.of_others[level]).ln();
            }
        }
        odds
    }

    /// The same of two rows, rare values that both have counting more than frequent ones.
    pub fn log_odds_of(&self, records: &Records, pattern: Pattern, a: usize) -> f64 {
        let mut odds = self.log_odds(pattern);
        let rows = records.len() as f64;
        for (index, (field, column)) in self.fields.iter().zip(&records.columns).enumerate() {
            let same = level_same(field.compare);
            if level_of(pattern, index) != same || !field.compare.has_terms() {
                continue;
            }
            let usual = field.of_others[same as usize];
            let count = f64::from(column.counts[column.places[a] as usize]);
            let term = ((count - 2.0) / rows).clamp(usual / TERM_FACTOR, usual * TERM_FACTOR);
            odds += (usual / term).ln();
        }
        odds
    }
}

impl AllPairs {
    fn of(records: &Records, field: usize, sample: &Counts, scale: f64) -> Self {
        let column = &records.columns[field];
        let mut levels = vec![0.0; levels(column.field.compare)];
        for (&pattern, &count) in sample {
            levels[level_of(pattern, field) as usize] += count as f64 * scale;
        }
        levels[LEVEL_MISSING as usize] = 0.0;
        let pairs = |count: f64| count * (count - 1.0) / 2.0;
        let same = level_same(column.field.compare) as usize;
        levels[same] = column.counts.iter().map(|&count| pairs(f64::from(count))).sum();
        Self { levels }
    }
}

/// Shares of the whole, none but that of the missing level below `least`.
fn normalised(mut levels: Vec<f64>, least: f64) -> Vec<f64> {
    let total: f64 = levels.iter().skip(1).sum();
    let known = levels.len() - 1;
    levels[LEVEL_MISSING as usize] = 0.0;
    for level in levels.iter_mut().skip(1) {
        *level = if total > 0.0 { (*level / total).max(least) } else { 1.0 / known as f64 };
    }
    let total: f64 = levels.iter().sum();
    levels.iter_mut().for_each(|level| *level /= total);
    levels
}

/// From log odds.
pub fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Field;
    use super::super::column::ColumnBuilder;
    use super::*;
    use crate::noise::Noise;

    /// 600 rows of six fields with 60 values each, the second half repeating the first; a value is wrong in `wrong` of
    /// all, and missing in a fifth.
    fn records(wrong: f64) -> Records {
        let mut noise = Noise::new(1);
        let mut random = move |below: usize| (noise.uniform() * below as f64) as usize;
        let originals: Vec<[usize; 6]> = (0..300).map(|_| [0; 6].map(|_| random(60))).collect();
        let mut columns: Vec<ColumnBuilder> = (0..6)
            .map(|i| ColumnBuilder::new(Field { column: format!("c{i}"), compare: Compare::Exact }))
            .collect();
        for row in 0..600 {
            for (field, column) in columns.iter_mut().enumerate() {
                let mut value = originals[row % 300][field];
                if row >= 300 && random(1000) < (wrong * 1000.0) as usize {
                    value = (value + 1 + random(59)) % 60;
                }
                let text = format!("v{value}");
                column.push((random(5) > 0).then_some(text.as_str()));
            }
        }
        Records { columns: columns.into_iter().map(|column| column.finish(600)).collect() }
    }

    fn counts(records: &Records, keep: impl Fn(Pattern) -> bool) -> Counts {
        let mut counts = Counts::new();
        for b in 0..records.len() {
            for a in 0..b {
                let pattern = records.pattern(a, b);
                if keep(pattern) {
                    *counts.entry(pattern).or_default() += 1;
                }
            }
        }
        counts
    }

    #[test]
    fn what_was_planted_is_estimated_from_candidates_that_agree_somewhere() {
        let records = records(0.1);
        let all = counts(&records, |_| true);
        // As blocks on each of the fields make them.
        let agrees = |pattern| (0..6).any(|field| level_of(pattern, field) == 2);
        let model = Model::learn(&records, &counts(&records, agrees), &all);
        let share = 300.0 / (600.0 * 599.0 / 2.0);
        assert!((model.share / share - 1.0).abs() < 0.15, "{} beside {share}", model.share);
        for field in &model.fields {
            assert!((field.of_duplicates[2] - 0.9).abs() < 0.05, "{:?}", field.of_duplicates);
            assert!((field.of_others[2] - 1.0 / 60.0).abs() < 0.002, "{:?}", field.of_others);
        }
    }

    #[test]
    fn a_missing_value_says_nothing_and_a_rare_one_more_than_a_frequent_one() {
        let mut records = records(0.1);
        let model =
            Model::learn(&records, &counts(&records, |_| true), &counts(&records, |_| true));
        let prior = (model.share / (1.0 - model.share)).ln();
        assert!((model.log_odds(0) - prior).abs() < 1e-12);
        let column = &mut records.columns[0];
        let (rare, frequent) = (column.places[0], column.places[1]);
        assert_ne!(rare, frequent);
        (column.counts[rare as usize], column.counts[frequent as usize]) = (2, 60);
        let same = Pattern::from(level_same(Compare::Exact));
        let odds = |row| model.log_odds_of(&records, same, row);
        assert!(odds(0) > model.log_odds(same) && model.log_odds(same) > odds(1));
        // Of 600 rows 6 others have it: as rare as the model says of all values, 1 in 60, over 1 in 100.
        records.columns[0].counts[rare as usize] = 8;
        let term = (model.fields[0].of_others[same as usize] / 0.01).ln();
        let found = model.log_odds_of(&records, same, 0) - model.log_odds(same);
        assert!((found - term).abs() < 1e-12, "{found} beside {term}");
    }
}
