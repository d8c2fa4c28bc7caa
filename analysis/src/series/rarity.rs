//! False-alarm control. A threshold in standard deviations assumes thin tails, and operational series do
//! not have them: a disk that is idle but for a burst every night is beyond any threshold every night. So
//! each series says itself what is ordinary for it: when more excursions pass the threshold than its length
//! makes plausible, those that are not clearly stronger than the first one too many are its normal behaviour.

/// Excursions of a series that are always plausible, whatever its length.
const ALWAYS: usize = 2;
/// How much stronger than the first one too many an excursion must be.
const CLEARLY: f64 = 1.5;

/// Keeps the excursions that are rare for a series of `samples` samples. `score` is higher for stronger.
pub fn keep_rare<T>(
    excursions: Vec<T>,
    samples: usize,
    rare_samples: usize,
    score: impl Fn(&T) -> f64,
) -> Vec<T> {
    let plausible = ALWAYS + samples.div_ceil(rare_samples);
    if excursions.len() <= plausible {
        return excursions;
    }
    let mut scores: Vec<f64> = excursions.iter().map(&score).collect();
    scores.sort_unstable_by(|a, b| b.total_cmp(a));
    let floor = scores[plausible] * CLEARLY;
    excursions.into_iter().filter(|excursion| score(excursion) >= floor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_normal_unless_it_is_clearly_stronger() {
        let daily: Vec<f64> = (0..30).map(|day| 10.0 + f64::from(day % 3) * 0.5).collect();
        assert!(keep_rare(daily.clone(), 4_000, 2_000, |s| *s).is_empty());
        let with_one = [daily, vec![40.0]].concat();
        assert_eq!(keep_rare(with_one, 4_000, 2_000, |s| *s), [40.0]);
        assert_eq!(keep_rare(vec![7.0, 7.0], 10, 2_000, |s| *s), [7.0, 7.0]);
    }
}
