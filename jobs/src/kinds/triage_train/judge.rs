//! What a trained classifier is judged by.

use analysis::trial::{Rate, wilson, wilson_of};
use engine::Result;
use models::{
    Classifier, ClassifierSettings, Comparison, InScope, NO_THRESHOLD, ScopeReport, Score, Scores,
    Threshold, calibration_error, calibration_error_interval, choose_threshold, compare,
    scope_report, scores, separates_better,
};

use super::fit::Task;
use super::prepare::Side;
use crate::registry::embedders::model_error;

/// What decides which texts are out of scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChosenThreshold {
    /// The threshold.
    pub(super) threshold: Threshold,
    /// Whether there is one: a few rows say nothing of the least sure of many.
    pub(super) is_any: bool,
    /// Rows out of scope that it was chosen with, and whether they changed it.
    pub(super) outside: usize,
    pub(super) is_changed: bool,
}

/// What was measured on the held-out rows.
pub(super) struct Judged {
    pub(super) scores: Scores,
    /// Before and after the temperature.
    pub(super) calibration_error: [f64; 2],
    pub(super) calibration_error_interval: [Option<[f64; 2]>; 2],
    pub(super) scope: Option<ScopeReport>,
    pub(super) comparison: Option<(String, Comparison)>,
    pub(super) changed: u64,
    pub(super) not_by_hand: [u64; 2],
    pub(super) on: String,
}

impl Task {
    /// The score that tells in and out of scope apart best, and its threshold.
    pub(super) fn threshold(
        &self,
        (inside, truth): (&[f32], &[usize]),
        outside: &[f32],
        temperature: f64,
    ) -> Result<ChosenThreshold> {
        let count = self.prepared.labels.count();
        let scored = |score: Score, logits: &[f32]| -> Vec<f64> {
            logits.chunks_exact(count).map(|row| score.of(row, temperature)).collect()
        };
        let [energy, probability] = [Score::Energy, Score::MaxProbability]
            .map(|score| (scored(score, inside), scored(score, outside)));
        let is_energy = separates_better((&energy.0, &energy.1), (&probability.0, &probability.1));
        let score = if is_energy { Score::Energy } else { Score::MaxProbability };
        let aim = self.params.aim(!outside.is_empty());
        let answers = best_of_rows(inside, count);
        let in_scope: Vec<InScope> = scored(score, inside)
            .into_iter()
            .zip(answers.iter().zip(truth))
            .map(|(score, (answer, truth))| InScope { score, is_right: answer == truth })
            .collect();
        let choose = |outside: &[f64], aim| choose_threshold(&in_scope, outside, aim);
        let least = choose(&scored(score, outside), aim).map_err(model_error)?;
        let without = choose(&[], self.params.aim(false)).map_err(model_error)?;
        Ok(ChosenThreshold {
            threshold: Threshold { score, least },
            is_any: least > NO_THRESHOLD,
            outside: outside.len() / count,
            is_changed: is_energy || least != without,
        })
    }

    pub(super) fn judge(
        &self,
        classifier: &Classifier,
        settings: &ClassifierSettings,
        threshold: Threshold,
    ) -> Result<Judged> {
        let rows = self.prepared.of(Side::HeldOut);
        let (count, truth) = (settings.labels.count(), self.prepared.classes(&rows));
        let logits = self.logits(classifier, &rows)?;
        let answers = best_of_rows(&logits, count);
        let known: Vec<Option<usize>> = truth.iter().copied().map(Some).collect();
        let found = scores(&known, &answers, count).map_err(model_error)?;
        let error_at = |temperature: f64| {
            calibration_error(&logits, &truth, count, temperature).map_err(model_error)
        };
        let interval_at = |temperature: f64| {
            let interval = calibration_error_interval(&logits, &truth, count, temperature);
            interval.map_err(model_error)
        };
        let outside = self.logits(classifier, &self.prepared.outside(Side::HeldOut))?;
        let scope = if outside.is_empty() {
            None
        } else {
            let all = [&logits[..], &outside].concat();
            let nones = std::iter::repeat_n(None, outside.len() / count);
            let truth: Vec<Option<usize>> = known.iter().copied().chain(nones).collect();
            let report = scope_report(&all, &truth, count, settings.temperature, threshold);
            Some(report.map_err(model_error)?)
        };
        let mut changed = 0;
        let comparison = match &self.in_use {
            None => None,
            Some((version, other)) => {
                // By name: the other may know other classes.
                let theirs =
                    best_of_rows(&self.logits(other, &rows)?, other.settings().labels.count());
                let names = other.settings().labels.names();
                let right = |row: usize, answer: &str| self.prepared.rows.labels[row] == answer;
                let own = settings.labels.names();
                let is_other = |(own_at, at): &(&usize, &usize)| own[**own_at] != names[**at];
                changed = answers.iter().zip(&theirs).filter(is_other).count() as u64;
                let of_theirs: Vec<bool> =
                    rows.iter().zip(&theirs).map(|(row, at)| right(*row, &names[*at])).collect();
                let of_own: Vec<bool> =
                    rows.iter().zip(&answers).map(|(row, at)| right(*row, &own[*at])).collect();
                let compared = compare(&of_own, &of_theirs).map_err(model_error)?;
                Some((version.clone(), compared))
            }
        };
        let mut not_by_hand = [0; 2];
        for ((row, answer), truth) in rows.iter().zip(&answers).zip(&truth) {
            if !self.prepared.rows.by_hand[*row] {
                not_by_hand[0] += 1;
                not_by_hand[1] += u64::from(answer == truth);
            }
        }
        Ok(Judged {
            changed,
            not_by_hand,
            calibration_error: [error_at(1.0)?, error_at(settings.temperature)?],
            calibration_error_interval: [interval_at(1.0)?, interval_at(settings.temperature)?],
            on: format!("{} held-out rows of {}", rows.len(), self.params.dataset),
            scores: found,
            scope,
            comparison,
        })
    }
}

pub(super) fn accuracy_interval(scores: &Scores) -> Option<[f64; 2]> {
    let right = (scores.accuracy * scores.rows as f64).round() as u64;
    wilson(right, scores.rows as u64).map(ends)
}

/// Where a rate lies.
pub(super) fn ends(rate: Rate) -> [f64; 2] {
    [rate.lower, rate.upper]
}

/// How texts out of scope are found, each figure with its interval; none where no row says anything of it.
pub(super) struct ScopeFigures {
    pub(super) auroc: Option<Rate>,
    pub(super) recall: Option<Rate>,
    pub(super) precision: Option<Rate>,
    pub(super) in_scope_accuracy: Option<Rate>,
}

impl ScopeFigures {
    pub(super) fn new(scope: &ScopeReport) -> Self {
        let part =
            |part: f64, rows: usize| wilson((part * rows as f64).round() as u64, rows as u64);
        Self {
            // AUROC varies at most as much as a proportion of the rows of the rarer kind.
            auroc: wilson_of(scope.auroc, scope.in_scope_rows.min(scope.out_of_scope_rows) as f64),
            recall: part(scope.recall, scope.out_of_scope_rows),
            precision: part(scope.precision, scope.answered_rows),
            in_scope_accuracy: part(scope.in_scope_accuracy, scope.in_scope_rows),
        }
    }
}

/// The first of the highest of each row.
fn best_of_rows(logits: &[f32], count: usize) -> Vec<usize> {
    let best = |row: &[f32]| {
        let mut best = 0;
        for (at, value) in row.iter().enumerate() {
            if *value > row[best] {
                best = at;
            }
        }
        best
    };
    logits.chunks_exact(count).map(best).collect()
}
