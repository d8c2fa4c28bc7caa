//! Accuracy, precision, recall and F1 by class, and who was taken for whom.

use crate::error::{Error, Result};
use crate::training::Random;

/// How rows of known labels were answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Rows that have a known label.
    pub rows: usize,
    /// Rows whose label the classifier does not know; nothing else counts them.
    pub unseen_rows: usize,
    /// Part of the rows that were answered right.
    pub accuracy: f64,
    /// Mean F1 of the classes that have rows or were answered.
    pub macro_f1: f64,
    /// By class.
    pub classes: Vec<ClassScores>,
    /// Rows of class i that were answered as class j, at `i * classes + j`.
    pub confusion: Vec<usize>,
}

/// How one class was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassScores {
    /// Part of the rows answered so that are so; 0 where none was answered so.
    pub precision: f64,
    /// Part of the rows that are so that were answered so; 0 where none is so.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Rows that are so.
    pub support: usize,
}

/// Scores of `answers` beside the `truth`, classes below `count`; a truth of none is a label that is not known.
/// Fails for lists of different lengths and for a class that is not below `count`.
pub fn scores(truth: &[Option<usize>], answers: &[usize], count: usize) -> Result<Scores> {
    let fail = |problem: String| Err(Error::Training { problem });
    if truth.len() != answers.len() {
        return fail(format!("expected {} answers, found {}", truth.len(), answers.len()));
    }
    if let Some(class) = truth.iter().flatten().chain(answers).find(|class| **class >= count) {
        return fail(format!("expected classes below {count}, found {class}"));
    }
    let mut confusion = vec![0_usize; count * count];
    let known =
        truth.iter().zip(answers).filter_map(|(truth, answer)| Some((((*truth)?), *answer)));
    known.for_each(|(truth, answer)| confusion[truth * count + answer] += 1);
    let rows: usize = confusion.iter().sum();
    let right: usize = (0..count).map(|class| confusion[class * count + class]).sum();
    let part = |of: usize, all: usize| if all == 0 { 0.0 } else { of as f64 / all as f64 };
    let mut classes = Vec::with_capacity(count);
    for class in 0..count {
        let OfClass { hits, support, answered } = OfClass::of(&confusion, count, class);
        let f1 = part(2 * hits, support + answered);
        classes.push(ClassScores {
            precision: part(hits, answered),
            recall: part(hits, support),
            f1,
            support,
        });
    }
    Ok(Scores {
        rows,
        unseen_rows: truth.len() - rows,
        accuracy: part(right, rows),
        macro_f1: macro_f1(&confusion, count),
        classes,
        confusion,
    })
}

/// Samples of the bootstrap.
const BOOTSTRAPS: usize = 400;
/// Rows above which the interval of a part of them is narrowed instead.
const BOOTSTRAP_ROWS_MAX: usize = 20_000;

/// Where the macro-F1 behind that of a sample lies with a confidence of 95 %: quantiles of samples of
/// the rows, drawn with replacement (Efron 1979). `None` without rows.
pub fn macro_f1_interval(scores: &Scores) -> Option<[f64; 2]> {
    let count = scores.classes.len();
    let filled = scores.confusion.iter().enumerate();
    let rows: Vec<usize> =
        filled.flat_map(|(place, rows)| std::iter::repeat_n(place, *rows)).collect();
    if rows.is_empty() {
        return None;
    }
    let drawn = rows.len().min(BOOTSTRAP_ROWS_MAX);
    let mut random = Random::new(rows.len() as u64, 0);
    let mut found: Vec<f64> = (0..BOOTSTRAPS)
        .map(|_| {
            let mut confusion = vec![0_usize; count * count];
            (0..drawn).for_each(|_| confusion[rows[random.below(rows.len())]] += 1);
            macro_f1(&confusion, count)
        })
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    // Fewer rows make a wider interval.
    let narrower = (drawn as f64 / rows.len() as f64).sqrt();
    let of = |part: f64| {
        let drawn = found[((BOOTSTRAPS - 1) as f64 * part).round() as usize];
        (scores.macro_f1 + (drawn - scores.macro_f1) * narrower).clamp(0.0, 1.0)
    };
    Some([of(0.025), of(0.975)])
}

/// Rows of one class.
struct OfClass {
    /// Rows that are so and were answered so.
    hits: usize,
    /// Rows that are so.
    support: usize,
    /// Rows that were answered so.
    answered: usize,
}

impl OfClass {
    fn of(confusion: &[usize], count: usize, class: usize) -> Self {
        Self {
            hits: confusion[class * count + class],
            support: confusion[class * count..(class + 1) * count].iter().sum(),
            answered: (0..count).map(|truth| confusion[truth * count + class]).sum(),
        }
    }
}

fn macro_f1(confusion: &[usize], count: usize) -> f64 {
    let mut f1s = Vec::with_capacity(count);
    for class in 0..count {
        let OfClass { hits, support, answered } = OfClass::of(confusion, count, class);
        if support + answered > 0 {
            f1s.push(2.0 * hits as f64 / (support + answered) as f64);
        }
    }
    f1s.iter().sum::<f64>() / f1s.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scores_are_those_computed_by_hand() {
        let truth = [Some(0), Some(0), Some(0), Some(1), Some(1), None, Some(2)];
        let found = scores(&truth, &[0, 0, 1, 1, 0, 1, 1], 4).unwrap();
        assert_eq!((found.rows, found.unseen_rows), (6, 1));
        assert!((found.accuracy - 0.5).abs() < 1e-12);
        let two_thirds = 2.0 / 3.0;
        assert!((found.classes[0].precision - two_thirds).abs() < 1e-12);
        assert!((found.classes[0].recall - two_thirds).abs() < 1e-12);
        assert!((found.classes[1].precision - 1.0 / 3.0).abs() < 1e-12);
        assert!((found.classes[1].f1 - 0.4).abs() < 1e-12);
        assert_eq!(found.classes[2], ClassScores { support: 1, ..ClassScores::default() });
        // The fourth class is in neither list.
        assert!((found.macro_f1 - (two_thirds + 0.4) / 3.0).abs() < 1e-12);
        assert_eq!(&found.confusion[..8], [2, 1, 0, 0, 1, 1, 0, 0]);
    }

    #[test]
    fn an_interval_of_few_rows_is_wide() {
        let interval = |rows: usize| {
            let truth: Vec<Option<usize>> = (0..rows).map(|row| Some(row % 2)).collect();
            let answers: Vec<usize> =
                (0..rows).map(|row| if row % 10 < 8 { row % 2 } else { 0 }).collect();
            let found = scores(&truth, &answers, 2).unwrap();
            let [low, high] = macro_f1_interval(&found).unwrap();
            assert!(low <= found.macro_f1 && found.macro_f1 <= high);
            high - low
        };
        let [few, many, most] = [20, 2_000, 200_000].map(interval);
        assert!(few > 0.2 && many < 0.04 && most < many / 5.0, "{few} {many} {most}");
        assert_eq!(macro_f1_interval(&scores(&[], &[], 2).unwrap()), None);
    }

    #[test]
    fn nothing_but_unseen_labels_is_no_panic() {
        let found = scores(&[None, None], &[0, 1], 2).unwrap();
        assert_eq!((found.rows, found.unseen_rows, found.accuracy), (0, 2, 0.0));
        assert!(scores(&[None], &[], 2).is_err());
        assert!(scores(&[Some(2)], &[0], 2).unwrap_err().to_string().contains("below 2, found 2"));
    }
}
