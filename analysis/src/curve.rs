//! How precision and recall go with the probability from which on a pair is taken, where labels say what is right.

use serde::Serialize;

/// What a threshold gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The least probability that is taken.
    pub threshold: f64,
    /// Taken pairs that are right, of those taken.
    pub precision: f64,
    /// Right pairs that are taken, of those that are right.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// Points of a curve that are reported.
const POINTS_MAX: usize = 20;

/// A point for each probability that occurs, the highest first; thresholds lie midway to the next lower one.
pub fn curve(scored: &[(f64, bool)]) -> Vec<Point> {
    let mut scored = scored.to_vec();
    scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let right = scored.iter().filter(|pair| pair.1).count() as f64;
    let (mut taken, mut hits) = (0.0, 0.0);
    let mut points = Vec::new();
    for (index, &(probability, label)) in scored.iter().enumerate() {
        taken += 1.0;
        hits += f64::from(u8::from(label));
        let next = scored.get(index + 1).map_or(0.0, |next| next.0);
        if next < probability || index + 1 == scored.len() {
            let threshold = (probability + next) / 2.0;
            points.push(Point::of(threshold, hits, taken, right));
        }
    }
    points
}

impl Point {
    /// Of `taken` pairs `hits` are right, of all `right` ones.
    pub fn of(threshold: f64, hits: f64, taken: f64, right: f64) -> Self {
        let ratio = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let (precision, recall) = (ratio(hits, taken), ratio(hits, right));
        Self { threshold, precision, recall, f1: ratio(2.0 * hits, taken + right) }
    }
}

/// The point with the largest F1; of several, the one with the highest threshold.
pub fn best(points: &[Point]) -> Option<Point> {
    points.iter().copied().reduce(|best, point| if point.f1 > best.f1 { point } else { best })
}

/// The point with the largest F1, at the threshold `usual` where that has it, too: few labels leave much room between what is right
/// and what is not, and the middle of it says nothing.
pub fn best_near(scored: &[(f64, bool)], usual: f64) -> Option<Point> {
    let (best, usual) = (best(&curve(scored))?, at(scored, usual));
    Some(if usual.f1 >= best.f1 { usual } else { best })
}

/// The point that `scored` has at a threshold.
pub fn at(scored: &[(f64, bool)], threshold: f64) -> Point {
    let count =
        |keep: &dyn Fn(&(f64, bool)) -> bool| scored.iter().filter(|p| keep(p)).count() as f64;
    let is_taken = |pair: &(f64, bool)| pair.0 >= threshold;
    let hits = count(&|pair| is_taken(pair) && pair.1);
    Point::of(threshold, hits, count(&is_taken), count(&|pair| pair.1))
}

/// The point with the largest F1 where the probabilities were learnt to be right: its threshold is half that F1 (Lipton, Elkan &
/// Naryanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", 2014). Of few pairs the largest F1 itself stands where
/// chance has it, and this one stays.
pub fn best_of_calibrated(scored: &[(f64, bool)]) -> Option<Point> {
    best(&curve(scored)).map(|best| at(scored, best.f1 / 2.0))
}

/// Some points, evenly spread over the recall, for a report.
pub fn thinned(points: &[Point]) -> Vec<Point> {
    let mut some: Vec<Point> = Vec::new();
    for point in points {
        let step = some.last().map_or(f64::INFINITY, |last| point.recall - last.recall);
        if step >= 1.0 / POINTS_MAX as f64 {
            some.push(*point);
        }
    }
    some
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_probability_that_occurs_is_a_point() {
        let points = curve(&[(0.9, true), (0.2, false), (0.6, false), (0.6, true), (0.4, true)]);
        let found: Vec<_> = points.iter().map(|p| (p.threshold, p.precision, p.recall)).collect();
        let third = 1.0 / 3.0;
        assert_eq!(
            found,
            [
                (0.75, 1.0, third),
                (0.5, 2.0 * third, 2.0 * third),
                (0.30000000000000004, 0.75, 1.0),
                (0.1, 0.6, 1.0)
            ]
        );
        assert_eq!(best(&points).unwrap().recall, 1.0);
        // Both points have an F1 of 2/3: of one taken of the two that are right, and of all four.
        let tied = curve(&[(0.9, true), (0.5, false), (0.4, false), (0.3, true)]);
        assert_eq!((tied[0].f1, tied[3].f1), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!(best(&tied).unwrap().threshold, tied[0].threshold);
        assert!(curve(&[]).is_empty());
        // Between 0.2 and 0.95 labels say nothing; of 0.97 they say that it is too much.
        let apart = [(0.95, true), (0.2, false)];
        assert_eq!(best_near(&apart, 0.9).unwrap().threshold, 0.9);
        assert_eq!(best_near(&apart, 0.97).unwrap().threshold, 0.575);
        assert_eq!(best_near(&apart, 0.1).unwrap().threshold, 0.575);
        assert_eq!(best_near(&[], 0.9), None);
        let scored = [(0.9, true), (0.8, true), (0.45, false), (0.44, true), (0.1, false)];
        // F1 is largest with four taken, 6/7; half of it takes them, and the next one down would not.
        assert_eq!(best(&curve(&scored)).unwrap().f1, 6.0 / 7.0);
        let found = best_of_calibrated(&scored).unwrap();
        assert_eq!((found.threshold, found.precision, found.recall), (3.0 / 7.0, 0.75, 1.0));
        assert_eq!((at(&scored, 0.445).recall, at(&scored, 2.0).precision), (2.0 / 3.0, 0.0));
        assert!(best_of_calibrated(&[]).is_none());
    }
}
