//! What is told of models: when they were right less often than before, and who is better.

use analysis::answers::{Answers, Beside, worse};
use analysis::sampling::DifferenceOfAll;
use analysis::trial::{Rate, holm, wilson};

use super::params::Params;
use super::read::{Model, Read};

/// A model in a period.
#[derive(Clone, Debug)]
pub(super) struct OfPeriod<'a> {
    pub(super) model: &'a Model,
    pub(super) at: i64,
    pub(super) answers: &'a Answers,
    /// The part that was right in the periods before it; none in the first.
    pub(super) before: Option<Rate>,
    /// The chance of so few where nothing changed.
    pub(super) p: Option<f64>,
    pub(super) is_worse: bool,
}

/// Each period against those before it that were no worse.
pub(super) fn periods<'a>(params: &Params, read: &'a Read) -> Vec<OfPeriod<'a>> {
    let chance = (params.alarms / params.periods_of().per_quarter()).min(0.5);
    let mut all = Vec::new();
    for model in &read.models {
        let mut before = (0, 0);
        for (at, answers) in model.periods.iter().filter(|(_, of)| of.answers >= params.min_rows) {
            let now = (answers.right, answers.answers);
            let p = (before.1 > 0).then(|| worse(before, now));
            let is_worse = p.is_some_and(|p| p <= chance);
            all.push(OfPeriod {
                model,
                at: *at,
                answers,
                before: wilson(before.0, before.1),
                p,
                is_worse,
            });
            if !is_worse {
                before = (before.0 + now.0, before.1 + now.1);
            }
        }
    }
    all
}

/// Two models beside each other.
#[derive(Clone, Debug)]
pub(super) struct Compared<'a> {
    pub(super) a: &'a Model,
    pub(super) b: &'a Model,
    pub(super) beside: Beside,
    pub(super) p: f64,
    /// How they compare on all answers, by the confidence of each model whose labels are not drawn evenly.
    pub(super) weighted: Vec<DifferenceOfAll>,
    /// With the number of comparisons in mind.
    pub(super) p_adjusted: f64,
    pub(super) better: Option<&'a str>,
}

impl Compared<'_> {
    /// The least sure of the differences on all answers.
    pub(super) fn weighted_difference(&self) -> Option<DifferenceOfAll> {
        self.weighted.iter().copied().max_by(|a, b| a.p.total_cmp(&b.p))
    }

    /// The highest p-value, of the labelled rows and of all answers; 1 if one of them has the other sign.
    fn p_of_all(&self) -> f64 {
        let labelled = self.beside.only_b as f64 - self.beside.only_a as f64;
        match self.weighted.iter().any(|of| of.difference * labelled < 0.0) {
            true => 1.0,
            false => self.weighted.iter().map(|of| of.p).fold(self.p, f64::max),
        }
    }
}

/// Holds models against each other, or against the champion, on the rows that both answered.
pub(super) fn comparisons<'a>(params: &Params, read: &'a Read) -> Vec<Compared<'a>> {
    let is_champion = |model: &Model| params.champion.as_ref().is_some_and(|of| *of == model.name);
    let mut all = Vec::new();
    for ((a, b), pair) in &read.pairs {
        let (first, second) = (&read.models[*a], &read.models[*b]);
        // The champion comes first.
        let (a, b, pair) = match is_champion(second) {
            true => (second, first, pair.turned()),
            false => (first, second, pair.clone()),
        };
        let p = pair.beside.p();
        let weighted = pair.weighted([a, b]);
        all.push(Compared { a, b, beside: pair.beside, p, weighted, p_adjusted: p, better: None });
    }
    let raised = holm(&all.iter().map(Compared::p_of_all).collect::<Vec<f64>>());
    for (of, p) in all.iter_mut().zip(raised) {
        of.p_adjusted = p;
        let better = if of.beside.only_a > of.beside.only_b { of.a } else { of.b };
        of.better = (p <= params.alpha).then_some(better.name.as_str());
    }
    all
}
