//! What there is to know of labelled texts before anything is learned from them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::head::{Head, HeadOptions, HeadProgress};
use super::labels::check_classes;
use super::loss::softmax;
use super::random::Random;
use crate::error::{Error, Result};
use crate::evaluation::best_of;
use crate::hash::Sha256Hash;

/// Parts of the rows that label noise is looked for in, each by a head trained on the others.
const FOLDS_MAX: usize = 20;

/// What labelled texts are.
#[derive(Clone, Debug, PartialEq)]
pub struct DataReport {
    /// Rows.
    pub rows: usize,
    /// Rows of each class.
    pub rows_by_class: Vec<usize>,
    /// Rows of the largest class for one of the smallest that has any.
    pub imbalance: f64,
    /// Texts without a letter or digit.
    pub empty_texts: usize,
    /// Characters of a text: of the shortest, the 25th, 50th, 75th and 95th of a hundred, and the longest.
    pub characters: [usize; 6],
    /// Rows whose text is, but for case, punctuation and spaces, another row's that comes before.
    pub repeated_texts: usize,
    /// Of those, rows that bear another label than the first of their like.
    pub contradictory_texts: usize,
}

/// A row whose label others of its like do not bear.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseCandidate {
    /// The row.
    pub row: usize,
    /// Its label.
    pub labelled: usize,
    /// What a head that never saw it answers.
    pub answered: usize,
    /// How sure that is.
    pub confidence: f32,
    /// The probability that it gives to the label.
    pub of_label: f32,
}

/// What a head answers for a row that it did not learn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldAnswer {
    /// The likeliest class.
    pub answered: usize,
    /// How sure that is.
    pub confidence: f32,
    /// The probability that it gives to the row's own class.
    pub of_label: f32,
}

/// Describes labelled texts. Fails for lists of different lengths and for classes that are not below `count`.
pub fn describe(texts: &[&str], classes: &[usize], count: usize) -> Result<DataReport> {
    if texts.len() != classes.len() {
        let (rows, labels) = (texts.len(), classes.len());
        return fail(format!("report: expected a class for each of {rows} texts, found {labels}"));
    }
    if let Some(class) = classes.iter().find(|class| **class >= count) {
        return fail(format!("report: expected classes below {count}, found {class}"));
    }
    let mut rows_by_class = vec![0; count];
    classes.iter().for_each(|class| rows_by_class[*class] += 1);
    let most = rows_by_class.iter().max().copied().unwrap_or(0);
    let least = rows_by_class.iter().filter(|rows| **rows > 0).min().copied().unwrap_or(1);
    let mut lengths: Vec<usize> = texts.iter().map(|text| text.chars().count()).collect();
    lengths.sort_unstable();
    let at =
        |part: usize| lengths.get((lengths.len().max(1) - 1) * part / 100).copied().unwrap_or(0);
    let mut first_of: BTreeMap<u64, usize> = BTreeMap::new();
    let (mut repeated_texts, mut contradictory_texts) = (0, 0);
    for (key, class) in same_text_groups(texts).into_iter().zip(classes) {
        match first_of.get(&key) {
            Some(first) => {
                repeated_texts += 1;
                contradictory_texts += usize::from(first != class);
            }
            None => {
                first_of.insert(key, *class);
            }
        }
    }
    Ok(DataReport {
        rows: texts.len(),
        rows_by_class,
        imbalance: most as f64 / least as f64,
        empty_texts: texts.iter().filter(|text| normalised(text).is_empty()).count(),
        characters: [0, 25, 50, 75, 95, 100].map(at),
        repeated_texts,
        contradictory_texts,
    })
}

/// One value for each text, equal for texts that are the same but for case, punctuation and spaces: as groups of a split
/// they keep copies on one side.
pub fn same_text_groups(texts: &[&str]) -> Vec<u64> {
    let hash = |text: &&str| {
        let hash = Sha256Hash::of(normalised(text).as_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        u64::from_le_bytes(*first)
    };
    texts.iter().map(hash).collect()
}

/// Rows of `held_out` whose text is, as far as [`same_text_groups`] tells, among those that are learned from.
pub fn repeated_across(train: &[&str], held_out: &[&str]) -> Vec<usize> {
    let learned: BTreeSet<u64> = same_text_groups(train).into_iter().collect();
    let groups = same_text_groups(held_out).into_iter().enumerate();
    groups.filter(|(_, group)| learned.contains(group)).map(|(row, _)| row).collect()
}

/// What heads answer for each row, each of a head that learned from all folds but the row's. `vectors`:
/// `[rows, dimension]`. Fails as [`Head::train`] does, and for other than 2 to 20 folds.
pub fn fold_answers(
    vectors: &[f32],
    classes: &[usize],
    count: usize,
    folds: usize,
    seed: u64,
) -> Result<Vec<FoldAnswer>> {
    check_classes(classes, count)?;
    if !(2..=FOLDS_MAX).contains(&folds) {
        return fail(format!("label noise: expected 2 to {FOLDS_MAX} folds, found {folds}"));
    }
    let dimension = vectors.len() / classes.len();
    let mut order: Vec<usize> = (0..classes.len()).collect();
    Random::new(seed, 0).shuffle(&mut order);
    let mut answers = vec![FoldAnswer { answered: 0, confidence: 0.0, of_label: 0.0 }; order.len()];
    for fold in 0..folds {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for (at, row) in order.iter().enumerate() {
            if at % folds == fold { &mut outside } else { &mut inside }.push(*row);
        }
        let of = |rows: &[usize]| -> Vec<f32> {
            let slices = rows.iter().flat_map(|row| &vectors[row * dimension..][..dimension]);
            slices.copied().collect()
        };
        let learned: Vec<usize> = inside.iter().map(|row| classes[*row]).collect();
        let mut go_on = |_: &HeadProgress| ControlFlow::Continue(());
        let options = HeadOptions::default();
        let (head, _) = Head::train(&of(&inside), &learned, count, &options, &mut go_on)?;
        let mut logits = head.logits(&of(&outside))?;
        for (row, shares) in outside.iter().zip(logits.chunks_exact_mut(count)) {
            softmax(shares);
            let answered = best_of(shares);
            answers[*row] = FoldAnswer {
                answered,
                confidence: shares[answered],
                of_label: shares[classes[*row]],
            };
        }
    }
    Ok(answers)
}

/// Rows that may be labelled wrongly: a head that did not see them answers another class and is at least
/// `confidence_min` sure of it. The surest first.
pub fn label_noise(
    answers: &[FoldAnswer],
    classes: &[usize],
    confidence_min: f32,
) -> Vec<NoiseCandidate> {
    let doubted = |(row, (answer, class)): (usize, (&FoldAnswer, &usize))| {
        let is_in_doubt = answer.answered != *class && answer.confidence >= confidence_min;
        is_in_doubt.then_some(NoiseCandidate {
            row,
            labelled: *class,
            answered: answer.answered,
            confidence: answer.confidence,
            of_label: answer.of_label,
        })
    };
    let mut candidates: Vec<NoiseCandidate> =
        answers.iter().zip(classes).enumerate().filter_map(doubted).collect();
    candidates.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.row.cmp(&b.row)));
    candidates
}

/// Letters and digits in lower case, words with one space between.
pub(super) fn normalised(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn fail<T>(problem: String) -> Result<T> {
    Err(Error::Training { problem })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_are_described() {
        let texts = ["My card!", "my  card", "Lost", "", " ?", "MY CARD", "a longer text of words"];
        let found = describe(&texts, &[0, 0, 1, 1, 1, 2, 0], 4).unwrap();
        assert_eq!(found.rows_by_class, [3, 3, 1, 0]);
        assert_eq!((found.imbalance, found.empty_texts), (3.0, 2));
        assert_eq!(found.characters, [0, 2, 7, 8, 8, 22]);
        // Both without a letter are of one like.
        assert_eq!((found.repeated_texts, found.contradictory_texts), (3, 1));
        assert_eq!(repeated_across(&texts[..3], &["lost.", "found", "MY card"]), [0, 2]);
        assert_eq!(describe(&[], &[], 2).unwrap().rows, 0);
        assert!(describe(&["a"], &[], 2).is_err() && describe(&["a"], &[2], 2).is_err());
    }

    #[test]
    fn labels_that_were_changed_are_found() {
        let mut random = Random::new(9, 9);
        let truth: Vec<usize> = (0..600).map(|row| row % 3).collect();
        let vectors: Vec<f32> = truth
            .iter()
            .flat_map(|class| [0, 1, 2].map(|at| f32::from(u8::from(at == *class))))
            .map(|x| x + 0.2 * random.signed())
            .collect();
        let mut classes = truth.clone();
        let changed = [5, 77, 300, 431];
        changed.iter().for_each(|row| classes[*row] = (classes[*row] + 1) % 3);
        let answers = fold_answers(&vectors, &classes, 3, 5, 1).unwrap();
        let found = label_noise(&answers, &classes, 0.7);
        let mut rows: Vec<usize> = found.iter().map(|candidate| candidate.row).collect();
        rows.sort_unstable();
        assert_eq!(rows, changed);
        assert!(found.iter().all(|c| c.answered == truth[c.row] && c.of_label < c.confidence));
        assert!(fold_answers(&vectors, &classes, 3, 1, 1).is_err());
    }
}
