//! How well scores tell labelled ranges from the rest, over all thresholds: the area under the range-aware curve of precision over
//! recall (R-AUC-PR) and its mean over the widths of the border (VUS-PR), by Paparrizos et al., "Volume under the surface: a new
//! accuracy evaluation measure for time-series anomaly detection", 2022.
//!
//! Labels have a border of half a `width` to both sides, that falls from 1 as `√(1 − distance / width)`; where two borders meet, the
//! higher one counts. For the samples `P` that a threshold detects and the softened labels `L`:
//!
//! - true positives: the sum of `L` over `P`; precision: that over the number of `P`;
//! - positives: the mean of the sum of the labels and that of `L`;
//! - recall: true positives over positives, at most 1, times the part of the softened ranges that have a detection.
//!
//! The area is the sum over the scores that occur, the highest first, of what recall gains times precision. Without a border that is
//! the average precision, times the part of ranges found. All scores are thresholds, where the authors' program takes 250 of them.

/// The area under range-aware precision and recall for a border of half of `width` samples to each side; `None` where no sample or
/// every one is labelled, or the lengths differ. NaN is the lowest score.
pub fn range_auc_pr(scores: &[f64], labels: &[bool], width: usize) -> Option<f64> {
    let labelled = labels.iter().filter(|label| **label).count();
    if scores.len() != labels.len() || labelled == 0 || labelled == labels.len() {
        return None;
    }
    let soft = softened(labels, width);
    let (ranges, count) = ranges(&soft);
    let positives = (labelled as f64 + soft.iter().sum::<f64>()) / 2.0;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let key = |at: &usize| if scores[*at].is_nan() { f64::NEG_INFINITY } else { scores[*at] };
    order.sort_by(|a, b| key(b).total_cmp(&key(a)));
    let mut is_found = vec![false; count];
    let (mut found, mut hits, mut detected) = (0, 0.0, 0.0);
    let (mut recall, mut area) = (0.0, 0.0);
    for equal in order.chunk_by(|a, b| key(a) == key(b)) {
        for &at in equal {
            detected += 1.0;
            hits += soft[at];
            if let Some(range) = ranges[at].filter(|range| !is_found[*range]) {
                is_found[range] = true;
                found += 1;
            }
        }
        let now = f64::min(hits / positives, 1.0) * f64::from(found) / count as f64;
        area += (now - recall) * hits / detected;
        recall = now;
    }
    Some(area)
}

/// The mean of [`range_auc_pr`] over all widths from 0 to `width_max`.
pub fn vus_pr(scores: &[f64], labels: &[bool], width_max: usize) -> Option<f64> {
    let areas: Option<Vec<f64>> =
        (0..=width_max).map(|width| range_auc_pr(scores, labels, width)).collect();
    areas.map(|areas| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// Labels with their borders.
fn softened(labels: &[bool], width: usize) -> Vec<f64> {
    let mut soft: Vec<f64> = labels.iter().map(|label| f64::from(u8::from(*label))).collect();
    let mut add = |at: usize, distance: usize| {
        let border = (1.0 - distance as f64 / width as f64).sqrt();
        soft[at] = soft[at].max(border);
    };
    for (at, pair) in labels.windows(2).enumerate() {
        for distance in 1..=width / 2 {
            match (pair[0], pair[1]) {
                (true, false) if at + distance < labels.len() => add(at + distance, distance),
                (false, true) if distance <= at + 1 => add(at + 1 - distance, distance),
                _ => break,
            }
        }
    }
    soft
}

/// For each sample the softened range it is in, and how many there are.
fn ranges(soft: &[f64]) -> (Vec<Option<usize>>, usize) {
    let mut count = 0;
    let mut is_inside = false;
    let ranges = soft.iter().map(|label| {
        count += usize::from(*label > 0.0 && !is_inside);
        is_inside = *label > 0.0;
        is_inside.then(|| count - 1)
    });
    (ranges.collect(), count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn labels(text: &str) -> Vec<bool> {
        text.chars().map(|c| c == '1').collect()
    }

    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn borders_fall_with_the_root_to_half_a_width() {
        let half = 0.5_f64.sqrt();
        let three = 0.75_f64.sqrt();
        assert_eq!(
            softened(&labels("0001100000"), 4),
            [0.0, half, three, 1.0, 1.0, three, half, 0.0, 0.0, 0.0]
        );
        // Cut at the ends, and the higher of two.
        assert_eq!(softened(&labels("010010"), 4), [three, 1.0, three, three, 1.0, three]);
        assert_eq!(softened(&labels("010"), 1), [0.0, 1.0, 0.0]);
        assert_eq!(softened(&labels("010"), 0), [0.0, 1.0, 0.0]);
        let (of, count) = ranges(&softened(&labels("1000001"), 2));
        assert_eq!((of, count), (vec![Some(0), Some(0), None, None, None, Some(1), Some(1)], 2));
    }

    #[test]
    fn without_a_border_one_range_has_its_average_precision() {
        let scores = [0.1, 0.9, 0.8, 0.3, 0.7];
        // In order: hit (1/1), miss, hit (2/3).
        near(range_auc_pr(&scores, &labels("01001"), 0), {
            // Two ranges: recall 1/2 · 1/2 at first, 1 at the third.
            0.25 * 1.0 + 0.75 * (2.0 / 3.0)
        });
        near(range_auc_pr(&scores, &labels("01100"), 0), 1.0);
        near(range_auc_pr(&scores, &labels("00110"), 0), 0.5 * 0.5 + 0.5 * (2.0 / 4.0));
    }

    #[test]
    fn a_detection_beside_a_range_counts_by_its_border() {
        let root = 0.5_f64.sqrt();
        let truth = labels("00100");
        // Width 2: borders of √½ at 1 and 3; positives (1 + 1 + 2√½) / 2 = 1 + √½.
        let positives = 1.0 + root;
        // The border first, then the label, the other border, and the rest.
        let scores = [0.0, 0.9, 0.8, 0.7, 0.0];
        let recalls = [root / positives, (1.0 + root) / positives, 1.0];
        let expected = recalls[0] * root
            + (recalls[1] - recalls[0]) * (1.0 + root) / 2.0
            + (recalls[2] - recalls[1]) * (1.0 + 2.0 * root) / 3.0;
        near(range_auc_pr(&scores, &truth, 2), expected);
        near(range_auc_pr(&scores, &truth, 0), 0.5);
        near(vus_pr(&scores, &truth, 2), (0.5 + 0.5 + expected) / 3.0);
    }

    #[test]
    fn equal_scores_are_one_threshold_and_nan_is_the_lowest() {
        near(range_auc_pr(&[0.5; 8], &labels("00110000"), 0), 0.25);
        let scores = [f64::NAN, 0.0, 1.0, f64::NEG_INFINITY];
        near(range_auc_pr(&scores, &labels("0010"), 0), 1.0);
        near(range_auc_pr(&scores, &labels("1000"), 0), 0.25);
    }

    #[test]
    fn without_labels_or_with_nothing_else_there_is_no_area() {
        assert_eq!(range_auc_pr(&[0.5; 3], &labels("000"), 2), None);
        assert_eq!(range_auc_pr(&[0.5; 3], &labels("111"), 2), None);
        assert_eq!(range_auc_pr(&[0.5; 3], &labels("01"), 2), None);
        assert_eq!(vus_pr(&[0.5; 3], &labels("000"), 2), None);
    }
}
