//! Accuracy, precision, recall and F1 by class, and who was taken for whom.

use crate::error::{Error, Result};

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
    let mut f1s = Vec::new();
    for class in 0..count {
        let hits = confusion[class * count + class];
        let support: usize = confusion[class * count..(class + 1) * count].iter().sum();
        let answered: usize = (0..count).map(|truth| confusion[truth * count + class]).sum();
        let f1 = part(2 * hits, support + answered);
        if support + answered > 0 {
            f1s.push(f1);
        }
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
        macro_f1: if f1s.is_empty() { 0.0 } else { f1s.iter().sum::<f64>() / f1s.len() as f64 },
        classes,
        confusion,
    })
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
    fn nothing_but_unseen_labels_is_no_panic() {
        let found = scores(&[None, None], &[0, 1], 2).unwrap();
        assert_eq!((found.rows, found.unseen_rows, found.accuracy), (0, 2, 0.0));
        assert!(scores(&[None], &[], 2).is_err());
        assert!(scores(&[Some(2)], &[0], 2).unwrap_err().to_string().contains("below 2, found 2"));
    }
}
