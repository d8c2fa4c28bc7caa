//! Whether a confidence of 0.9 is right nine times of ten, and the one number that makes it so: all logits are divided
//! by a temperature (Guo et al. 2017, section 4.2). It changes no answer, only how sure it is.

use crate::error::{Error, Result};
use crate::training::Random;

/// Bins of the calibration error, of equal width (Guo et al. 2017, equation 3).
const BINS: usize = 15;
/// Lowest and highest temperature.
const TEMPERATURES: (f64, f64) = (0.02, 50.0);
/// Golden section: the search narrows by this factor a step, to 1e-9 of the range.
const GOLDEN: f64 = 0.618_033_988_749_895;
const STEPS: usize = 45;

/// A temperature and what it does on the rows that it was fitted on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// What logits are divided by.
    pub temperature: f64,
    /// Mean negative logarithm of what was answered for a row's own class, before and after.
    pub loss: [f64; 2],
    /// Expected calibration error, before and after.
    pub error: [f64; 2],
}

/// The temperature of the lowest loss on rows with `logits`, `[rows, classes]`, whose classes are `truth`. The loss is
/// convex in one over the temperature, so that there is one such. It is not lower than where the mean confidence is the accuracy
/// by Laplace's rule of succession, (hits + 1) / (rows + 2): where all rows are answered rightly, no temperature would be low
/// enough. Fails for no rows, for a class that is none, and for
/// logits that are no numbers.
pub fn fit_temperature(logits: &[f32], truth: &[usize], count: usize) -> Result<Calibration> {
    check(logits, truth, count)?;
    let loss = |logarithm: f64| mean_loss(logits, truth, count, (-logarithm).exp());
    let (mut low, mut high) = (TEMPERATURES.0.ln(), TEMPERATURES.1.ln());
    let (mut left, mut right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut at_left, mut at_right) = (loss(left), loss(right));
    for _ in 0..STEPS {
        if at_left < at_right {
            (high, right, at_right) = (right, left, at_left);
            left = high - GOLDEN * (high - low);
            at_left = loss(left);
        } else {
            (low, left, at_left) = (left, right, at_right);
            right = low + GOLDEN * (high - low);
            at_right = loss(right);
        }
    }
    let temperature = not_surer(logits, truth, count, low.midpoint(high)).exp();
    let of = |temperature: f64| error_at(logits, truth, count, temperature);
    Ok(Calibration {
        temperature,
        loss: [loss(0.0), loss(temperature.ln())],
        error: [of(1.0), of(temperature)],
    })
}

/// Folds of the rows by which a temperature is confirmed.
const FOLDS: usize = 10;
/// Standard errors of the mean gain that a temperature must have: 5 % of the useless ones are kept.
const GAIN_MIN: f64 = 1.645;

/// The temperature of [`fit_temperature`], or 1 if it helps no more than chance: temperatures of nine
/// tenths of the rows must lower the loss of the other tenth. Fails as [`fit_temperature`].
pub fn confirmed_temperature(logits: &[f32], truth: &[usize], count: usize) -> Result<Calibration> {
    let fitted = fit_temperature(logits, truth, count)?;
    let mut gains = Vec::with_capacity(truth.len());
    for fold in 0..FOLDS.min(truth.len()) {
        let rows = || logits.chunks_exact(count).zip(truth).enumerate();
        let is_of_fold = |row: usize| row % FOLDS == fold;
        let mut others = (Vec::new(), Vec::new());
        for (_, (row, class)) in rows().filter(|(row, _)| !is_of_fold(*row)) {
            others.0.extend_from_slice(row);
            others.1.push(*class);
        }
        if others.1.is_empty() {
            continue;
        }
        let temperature = fit_temperature(&others.0, &others.1, count)?.temperature;
        let own = rows().filter(|(row, _)| is_of_fold(*row));
        gains.extend(own.map(|(_, (row, class))| {
            log_loss(row, *class, 1.0) - log_loss(row, *class, 1.0 / temperature)
        }));
    }
    let rows = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / rows;
    let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (rows - 1.0);
    if mean > GAIN_MIN * (variance / rows).sqrt() {
        return Ok(fitted);
    }
    let ([loss, _], [error, _]) = (fitted.loss, fitted.error);
    Ok(Calibration { temperature: 1.0, loss: [loss; 2], error: [error; 2] })
}

/// The expected calibration error: the distance of confidence and accuracy in each of 15 bins of confidence, weighted
/// by rows. Fails as [`fit_temperature`].
pub fn calibration_error(
    logits: &[f32],
    truth: &[usize],
    count: usize,
    temperature: f64,
) -> Result<f64> {
    check(logits, truth, count)?;
    Ok(error_at(logits, truth, count, temperature))
}

/// Samples of the bootstrap, and rows below which a sample says nothing.
const BOOTSTRAPS: usize = 400;
const BOOTSTRAP_ROWS_MIN: usize = 10;

/// Where the calibration error of such rows lies with a confidence of 95 %: quantiles of samples of the rows, drawn with replacement (Efron,
/// 1979). None of fewer than ten rows. Fails as [`fit_temperature`].
pub fn calibration_error_interval(
    logits: &[f32],
    truth: &[usize],
    count: usize,
    temperature: f64,
) -> Result<Option<[f64; 2]>> {
    check(logits, truth, count)?;
    let rows = answers(logits, truth, count, temperature);
    if rows.len() < BOOTSTRAP_ROWS_MIN {
        return Ok(None);
    }
    let mut random = Random::new(rows.len() as u64, 1);
    let mut found: Vec<f64> = (0..BOOTSTRAPS)
        .map(|_| error_of((0..rows.len()).map(|_| rows[random.below(rows.len())])))
        .collect();
    found.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| found[((BOOTSTRAPS - 1) as f64 * part).round() as usize];
    Ok(Some([at(0.025), at(0.975)]))
}

fn error_at(logits: &[f32], truth: &[usize], count: usize, temperature: f64) -> f64 {
    error_of(answers(logits, truth, count, temperature).into_iter())
}

/// The confidence of each row's answer, and whether it is right.
fn answers(logits: &[f32], truth: &[usize], count: usize, temperature: f64) -> Vec<(f64, bool)> {
    let answer = |(row, class): (&[f32], &usize)| {
        let best = best_of(row);
        ((-log_loss(row, best, 1.0 / temperature)).exp(), best == *class)
    };
    logits.chunks_exact(count).zip(truth).map(answer).collect()
}

fn error_of(answers: impl ExactSizeIterator<Item = (f64, bool)>) -> f64 {
    let rows = answers.len() as f64;
    // Of each bin the sum of confidences and of hits.
    let mut bins = [(0.0, 0.0); BINS];
    for (confidence, is_right) in answers {
        let bin = &mut bins[((confidence * BINS as f64) as usize).min(BINS - 1)];
        bin.0 += confidence;
        bin.1 += f64::from(u8::from(is_right));
    }
    bins.iter().map(|(confidence, hits)| (confidence - hits).abs()).sum::<f64>() / rows
}

/// The class of the largest number, of several the first.
pub(crate) fn best_of(row: &[f32]) -> usize {
    let mut best = 0;
    for (class, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = class;
        }
    }
    best
}

fn mean_loss(logits: &[f32], truth: &[usize], count: usize, scale: f64) -> f64 {
    let rows = logits.chunks_exact(count).zip(truth);
    rows.map(|(row, class)| log_loss(row, *class, scale)).sum::<f64>() / truth.len() as f64
}

/// The negative logarithm of a class' share when logits are multiplied by `scale`.
fn log_loss(row: &[f32], class: usize, scale: f64) -> f64 {
    let most = f64::from(row[best_of(row)]);
    let sum: f64 = row.iter().map(|x| ((f64::from(*x) - most) * scale).exp()).sum();
    sum.ln() - (f64::from(row[class]) - most) * scale
}

/// The logarithm of a temperature, or of the lowest above it with which the mean confidence is what Laplace has the accuracy be.
fn not_surer(logits: &[f32], truth: &[usize], count: usize, logarithm: f64) -> f64 {
    let rows = || logits.chunks_exact(count);
    let hits = rows().zip(truth).filter(|(row, class)| best_of(row) == **class).count();
    let most = (hits as f64 + 1.0) / (truth.len() as f64 + 2.0);
    let is_surer = |logarithm: f64| {
        let confidence = |row| (-log_loss(row, best_of(row), (-logarithm).exp())).exp();
        rows().map(confidence).sum::<f64>() / truth.len() as f64 > most
    };
    if !is_surer(logarithm) {
        return logarithm;
    }
    let (mut low, mut high) = (logarithm, TEMPERATURES.1.ln());
    for _ in 0..STEPS {
        let middle = low.midpoint(high);
        if is_surer(middle) { low = middle } else { high = middle }
    }
    high
}

fn check(logits: &[f32], truth: &[usize], count: usize) -> Result<()> {
    let fail = |problem: String| Err(Error::Training { problem });
    if truth.is_empty() || count == 0 || logits.len() != truth.len() * count {
        return fail(format!(
            "calibration: expected rows of {count} logits and a class for each, found {} logits and {} classes",
            logits.len(),
            truth.len()
        ));
    }
    if let Some(class) = truth.iter().find(|class| **class >= count) {
        return fail(format!("calibration: expected classes below {count}, found {class}"));
    }
    match logits.iter().find(|x| !x.is_finite()) {
        Some(x) => fail(format!("calibration: expected finite logits, found {x}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Rows of which three of four are answered right, all with the same logits.
    fn three_of_four(certain: f32) -> (Vec<f32>, Vec<usize>) {
        let logits = [certain, 0.0].repeat(400);
        let truth = (0..400).map(|row| usize::from(row % 4 == 0)).collect();
        (logits, truth)
    }

    #[test]
    fn the_temperature_makes_the_confidence_the_accuracy() {
        for certain in [0.2, 1.0, 8.0] {
            let (logits, truth) = three_of_four(certain);
            let found = fit_temperature(&logits, &truth, 2).unwrap();
            // The logit of what Laplace has three of four be, of 400.
            let share: f64 = 301.0 / 402.0;
            let expected = f64::from(certain) / (share / (1.0 - share)).ln();
            assert!((found.temperature / expected - 1.0).abs() < 1e-5, "{found:?}");
            assert!((found.error[1] - (0.75 - share)).abs() < 1e-5, "{found:?}");
            assert!(found.error[1] < found.error[0], "{found:?}");
            let loss = -(0.75 * share.ln() + 0.25 * (1.0 - share).ln());
            assert!((found.loss[1] - loss).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn rows_that_are_all_answered_rightly_do_not_make_it_certain() {
        for (rows, count) in [(10, 2), (10, 5), (1000, 3)] {
            let row: Vec<f32> =
                (0..count).map(|class| if class == 1 { 4.0 } else { 0.0 }).collect();
            let found = fit_temperature(&row.repeat(rows), &vec![1; rows], count).unwrap();
            let confidence = (-log_loss(&row, 1, 1.0 / found.temperature)).exp();
            let expected = (rows as f64 + 1.0) / (rows as f64 + 2.0);
            assert!((confidence - expected).abs() < 1e-5, "{found:?} {confidence}");
        }
    }

    #[test]
    fn the_error_is_the_distance_of_confidence_and_accuracy() {
        let (logits, truth) = three_of_four(8.0);
        let confidence = 1.0 / (1.0 + (-8_f64).exp());
        let found = calibration_error(&logits, &truth, 2, 1.0).unwrap();
        assert!((found - (confidence - 0.75)).abs() < 1e-9, "{found}");
        assert!(fit_temperature(&[], &[], 2).is_err());
        assert!(fit_temperature(&[0.0, f32::NAN], &[0], 2).is_err());
        assert!(fit_temperature(&[0.0, 1.0], &[2], 2).is_err());
    }

    /// Logits of two classes with the odds that they are right, `sharpness` times as sure.
    fn answers(rows: usize, sharpness: f64) -> (Vec<f32>, Vec<usize>) {
        let mut state = 7_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let (mut logits, mut truth) = (Vec::new(), Vec::new());
        for _ in 0..rows {
            let logit = 4.0 * uniform() - 2.0;
            logits.extend([0.0, (sharpness * logit) as f32]);
            truth.push(usize::from(uniform() < 1.0 / (1.0 + (-logit).exp())));
        }
        (logits, truth)
    }

    #[test]
    fn a_temperature_is_kept_only_if_it_helps_by_more_than_chance() {
        let temperature = |rows: usize, sharpness: f64| {
            let (logits, truth) = answers(rows, sharpness);
            confirmed_temperature(&logits, &truth, 2).unwrap().temperature
        };
        assert_eq!([1, 2, 5].map(|rows| temperature(rows, 1.0)), [1.0; 3]);
        assert_eq!([100, 2_000].map(|rows| temperature(rows, 1.0)), [1.0; 2]);
        assert!((temperature(2_000, 3.0) - 3.0).abs() < 0.5);
        assert!((temperature(2_000, 0.3) - 0.3).abs() < 0.1);
    }
}
